-- One row per feature of SAE $sae from $first_feature to below $end_feature that fires: the number of its firings,
-- in all documents, in each of 40 bars of equal width from 0 to its maximum, and the position of each bar.
with firing_features as (
    select feature, max_activation
    from feature_stats
    where sae = $sae and feature >= $first_feature and feature < $end_feature and n_active > 0
),
counted as (
    select
        activations.feature,
        least(floor(activations.activation / firing_features.max_activation * 40)::int, 39) as bar,
        count(*) as n_firings
    from activations
    join firing_features using (feature)
    where
        activations.sae = $sae
        and activations.feature >= $first_feature
        and activations.feature < $end_feature
    group by activations.feature, bar
),
bars as (
    select firing_features.feature, firing_features.max_activation, unnest(range(40))::int as bar
    from firing_features
)
select
    bars.feature,
    list(coalesce(counted.n_firings, 0) order by bars.bar) as heights,
    list((bars.bar + 0.5) / 40 * bars.max_activation order by bars.bar) as bar_middles
from bars
left join counted using (feature, bar)
group by bars.feature
