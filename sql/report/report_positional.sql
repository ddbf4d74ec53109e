-- One row per SAE, measure and threshold: the share of its features with at least 100 firings that the measure
-- calls positional. The post's measure is the raw mutual information of firing and position, over all documents;
-- ours is the corrected and normalised score, over train documents from position 1 on.
with thresholds as (
    select unnest([0.01, 0.02, 0.05, 0.1, 0.2]::double[]) as threshold
),
measured as (
    select
        sae,
        unnest(['score', 'information']) as measure,
        unnest([position_score, position_information_nats]) as value,
        unnest([n_active_train, n_active]) as n_firings
    from feature_stats
)
select
    measured.sae,
    measured.measure,
    thresholds.threshold,
    count(*) as n_features,
    count(*) filter (where measured.value > thresholds.threshold) as n_positional,
    n_positional / count(*) as share
from measured
cross join thresholds
where measured.n_firings >= 100
group by measured.sae, measured.measure, thresholds.threshold
order by measured.sae, measured.measure desc, thresholds.threshold
