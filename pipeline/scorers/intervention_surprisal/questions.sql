-- One row per question: a text continued with the explanation's feature changed, or with another feature, chosen
-- by hash among the first of the batch. more, less: the continuation with more of the changed feature, and the one
-- with less; the unchanged model's is the former of an ablated feature, and the latter of a raised one. cluster:
-- all targets continue the same text.
-- For a control, the feature whose explanation it borrows comes last among the others (`borrowed_explanations`).
with written as (
    select feature, mode, target_kl, prompt_id, continuation, unsteered
    from steered_texts
    where status = 'ok'
),
own as (
    select scored_explanations.explanation_id, scored_explanations.explanation, written.*
    from scored_explanations
    join written using (feature)
),
others as (
    select
        own.explanation_id,
        own.explanation,
        own.feature,
        own.mode,
        own.target_kl,
        own.prompt_id,
        written.continuation,
        written.unsteered
    from own
    join written
        on written.mode = own.mode
        and written.target_kl is not distinct from own.target_kl
        and written.prompt_id = own.prompt_id
        and written.feature <> own.feature
    join batch_features on batch_features.feature = written.feature
    left join borrowed_explanations
        on borrowed_explanations.explanation_id = own.explanation_id
        and borrowed_explanations.other = written.feature
    where batch_features.place <= $scoring_intervention_pool
    qualify
        row_number() over (
            partition by own.explanation_id, own.mode, own.target_kl, own.prompt_id
            order by
                borrowed_explanations.other is not null,
                draw_hash($seed, ($sae, own.feature, own.prompt_id, written.feature, 'other')),
                written.feature
        ) = 1
),
asked as (
    select *, true as label from own
    union all by name
    select *, false as label from others
)
select
    explanation_id,
    feature,
    md5(concat_ws(' ', explanation_id, 'intervention_surprisal', mode, target_kl, prompt_id, label))
        as question_id,
    null::varchar as example_id,
    null::int[] as marked,
    label,
    prompt_id + 1 as draw,
    explanation,
    [if(mode = 'steer', 'kl ' || target_kl, mode)] as strata,
    concat_ws(' ', mode, prompt_id) as cluster,
    if(mode = 'steer', continuation, unsteered) as more,
    if(mode = 'steer', unsteered, continuation) as less
from asked
order by feature, explanation_id, question_id
