-- One row per scorer, kind of plant and fault: how often it scores the better of two explanations of a feature
-- higher, a tie one half. `planted_explanations` has what each explanation is.
-- A true explanation is better than any other; one that is too broad or too narrow is better than one that has
-- nothing to do with the feature. `fault`: the pairs of the true explanation with those of one fault; `all`: every
-- pair.
-- A feature's share is one observation. The interval is Wilson's, which also holds for shares: they vary no more
-- than 0s and 1s of the same mean.
with judged as (
    select
        headline_scores.scorer,
        headline_scores.metric,
        headline_scores.feature,
        headline_scores.value,
        planted_explanations.kind,
        planted_explanations.fault,
        case
            when planted_explanations.fault = 'none' then 2
            when planted_explanations.fault in ('too broad', 'too narrow') then 1
            else 0
        end as worth
    from headline_scores
    join planted_explanations using (explanation_id)
    where headline_scores.value is not null
),
worse as (
    select scorer, feature, fault, worth, value from judged
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
    join worse
        on worse.scorer = judged.scorer
        and worse.feature = judged.feature
        and worse.worth < judged.worth
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
