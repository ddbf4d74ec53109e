-- One row per scorer, kind of plant and fault: how often it scores the better of two explanations of a feature
-- higher, a tie one half. `planted_explanations` has what each explanation is; `planted_worths` has what an
-- explanation with a fault is worth to a scorer, 2 for the right one, and no row for a kind that the scorer cannot
-- judge. `fault`: the pairs of the right explanation with those of one fault; `all`: every pair of unequal worth.
-- An explanation that no graded window was found to fit counts as chance (value_or_chance), if the scorer gives
-- another explanation of the feature a score.
-- A feature's share is one observation. The interval is Wilson's, which also holds for shares: they vary no more
-- than 0s and 1s of the same mean.
with judged as (
    select
        headline_scores.scorer,
        headline_scores.metric,
        headline_scores.feature,
        planted_explanations.kind,
        planted_explanations.fault,
        planted_worths.worth,
        bool_or(headline_scores.value is not null) over (
            partition by headline_scores.scorer, headline_scores.feature
        ) as is_judged,
        if(is_judged, headline_scores.value_or_chance, null) as value
    from headline_scores
    join planted_explanations using (explanation_id)
    join planted_worths
        on planted_worths.scorer = headline_scores.scorer
        and planted_worths.kind = planted_explanations.kind
        and planted_worths.fault = planted_explanations.fault
),
compared as (
    select
        judged.scorer,
        judged.metric,
        judged.kind,
        judged.feature,
        unnest(if(judged.worth = 2, [worse.fault, 'all'], ['all'])) as fault,
        if(judged.value = worse.value, 0.5, (judged.value > worse.value)::double) as is_right
    from judged
    join judged as worse
        on worse.scorer = judged.scorer
        and worse.feature = judged.feature
        and worse.worth < judged.worth
    where judged.value is not null and worse.value is not null
),
by_feature as (
    select
        scorer, metric, kind, fault, feature, exact_mean(is_right) as share
    from compared
    group by scorer, metric, kind, fault, feature
),
of_kinds as (
    select scorer, metric, unnest([kind, 'all']) as kind, fault, share from by_feature
),
averaged as (
    select
        scorer,
        metric,
        kind,
        fault,
        count(*) as n,
        exact_mean(share) as mean
    from of_kinds
    group by scorer, metric, kind, fault
)
select
    scorer,
    metric,
    kind,
    fault,
    n as n_features,
    mean as share,
    wilson_low(mean, n, $scoring_z::double) as share_low,
    wilson_high(mean, n, $scoring_z::double) as share_high
from averaged
order by scorer, kind, fault
