-- One row per question: a continuation written with the explanation's feature changed, or with another feature,
-- chosen by hash among the first of the batch; each beside the unchanged model's. cluster: all targets continue
-- the same text.
with written as (
    select feature, mode, target_kl, prompt_id, continuation, unsteered
    from steered_texts
    where status = 'ok'
),
others as (
    select
        written.feature,
        written.mode,
        written.target_kl,
        written.prompt_id,
        other.continuation,
        other.unsteered
    from written
    join written as other
        on other.mode = written.mode
        and other.target_kl is not distinct from written.target_kl
        and other.prompt_id = written.prompt_id
        and other.feature <> written.feature
    join batch_features on batch_features.feature = other.feature
    where batch_features.place <= $scoring_intervention_pool
    qualify
        row_number() over (
            partition by written.feature, written.mode, written.target_kl, written.prompt_id
            order by
                hash($seed::bigint, $sae, written.feature::int, written.prompt_id::int, other.feature::int),
                other.feature
        ) = 1
),
asked as (
    select *, true as label from written
    union all by name
    select *, false as label from others
)
select
    scored_explanations.explanation_id,
    scored_explanations.feature,
    md5(concat_ws(
        ' ', scored_explanations.explanation_id, 'intervention_surprisal', asked.mode, asked.target_kl,
        asked.prompt_id, asked.label
    )) as question_id,
    null::varchar as example_id,
    null::int[] as marked,
    asked.label,
    asked.prompt_id + 1 as draw,
    scored_explanations.explanation,
    [if(asked.mode = 'steer', 'kl ' || asked.target_kl, asked.mode)] as strata,
    concat_ws(' ', asked.mode, asked.prompt_id) as cluster,
    asked.continuation,
    asked.unsteered
from scored_explanations
join asked using (feature)
order by scored_explanations.feature, scored_explanations.explanation_id, question_id
