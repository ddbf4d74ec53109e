-- One row per question: which of three sets of continuations was written with the explanation's feature changed?
-- The sets of a trial continue the same texts (when steering; ablation continues each feature's own windows). One
-- was written with this feature changed, the others with two other features, chosen by hash among the first of the
-- batch. Each continuation is shown beside the unchanged model's. sets: in the order in which they are shown; own:
-- the number of the right one. Both are null where a set is missing.
-- cluster: a trial shows the same texts and the same features at every target, so its answers are not independent.
-- For a control, the feature whose explanation it borrows comes last among the others (`borrowed_explanations`).
with written as (
    select
        feature,
        mode,
        target_kl,
        prompt_id // $scoring_intervention_set_size as trial,
        list({'unsteered': unsteered, 'continuation': continuation} order by prompt_id) as texts
    from steered_texts
    where status = 'ok'
    group by feature, mode, target_kl, trial
    having count(*) = $scoring_intervention_set_size
),
ways as (
    select distinct feature, mode, target_kl from steered_texts
),
trials as (
    select
        scored_explanations.explanation_id,
        scored_explanations.explanation,
        ways.*,
        unnest(range($scoring_intervention_n_trials)) as trial
    from ways
    join scored_explanations using (feature)
),
others as (
    select trials.*, written.feature as other
    from trials
    join written
        on written.mode = trials.mode
        and written.target_kl is not distinct from trials.target_kl
        and written.trial = trials.trial
        and written.feature <> trials.feature
    join batch_features on batch_features.feature = written.feature
    left join borrowed_explanations
        on borrowed_explanations.explanation_id = trials.explanation_id
        and borrowed_explanations.other = written.feature
    where batch_features.place <= $scoring_intervention_pool
    qualify
        row_number() over (
            partition by trials.explanation_id, trials.mode, trials.target_kl, trials.trial
            order by
                borrowed_explanations.other is not null,
                draw_hash($seed, ($sae, trials.feature, trials.mode, trials.trial, written.feature, 'other')),
                written.feature
        ) <= 2
),
members as (
    select *, feature as member from trials
    union all by name
    select * rename (other as member) from others
),
placed as (
    select
        members.explanation_id,
        members.feature,
        members.mode,
        members.target_kl,
        members.trial,
        members.member,
        written.texts,
        row_number() over (
            partition by members.explanation_id, members.mode, members.target_kl, members.trial
            order by
                draw_hash(
                    $seed,
                    (
                        $sae, members.feature, members.mode, members.target_kl::varchar, members.trial,
                        members.member, 'place'
                    )
                ),
                members.member
        ) as number
    from members
    join written
        on written.feature = members.member
        and written.mode = members.mode
        and written.target_kl is not distinct from members.target_kl
        and written.trial = members.trial
),
sets as (
    select
        explanation_id,
        mode,
        target_kl,
        trial,
        list(texts order by number) as sets,
        any_value(number) filter (member = feature) as own
    from placed
    group by explanation_id, mode, target_kl, trial
    having count(*) = 3 and own is not null
),
asked as (
    select
        trials.*,
        if(trials.mode = 'steer', 'kl ' || trials.target_kl, trials.mode) as stratum,
        sets.sets,
        sets.own
    from trials
    left join sets
        on sets.explanation_id = trials.explanation_id
        and sets.mode = trials.mode
        and sets.target_kl is not distinct from trials.target_kl
        and sets.trial = trials.trial
)
select
    explanation_id,
    feature,
    md5(concat_ws(' ', explanation_id, 'intervention', stratum, trial)) as question_id,
    null::varchar as example_id,
    null::int[] as marked,
    true as label,
    trial + 1 as draw,
    explanation,
    [stratum] as strata,
    concat_ws(' ', mode, trial) as cluster,
    sets,
    own
from asked
order by feature, explanation_id, question_id
