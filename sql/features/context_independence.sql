-- One row per threshold: the post's figure, the share of features that still fire in at least this share of their
-- scrambled contexts; of the candidates (with Wilson's interval, as the verified ones are a sample) and of all
-- features.
with shares as (
    select feature, sum(n_active) / sum(n_contexts) as share
    from scrambled_contexts
    group by feature
),
features as (
    select count(*) as n_features, count(*) filter (is_unigram) as n_candidates from feature_stats
),
counted as (
    select
        tenth / 10 as threshold,
        any_value(n_features) as n_features,
        any_value(n_candidates) as n_candidates,
        count(share) as n_verified,
        count(*) filter (share >= tenth / 10) as n_independent
    from range(1, 10) as tenths (tenth)
    join features on n_features > 0
    left join shares on true
    group by tenth
),
measured as (
    select
        *,
        n_independent / nullif(n_verified, 0) as value
    from counted
)
select
    $sae as sae,
    threshold,
    n_features,
    n_candidates,
    n_verified,
    n_independent,
    value as share_of_candidates,
    wilson_low(value, n_verified, $scoring_z::double) as ci_low,
    wilson_high(value, n_verified, $scoring_z::double) as ci_high,
    if(n_candidates = 0, 0, value * n_candidates / n_features) as share_of_features
from measured
order by threshold
