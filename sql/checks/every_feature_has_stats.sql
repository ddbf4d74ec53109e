-- One row per feature of SAE $sae that has not exactly one row in feature_stats.
with all_features as (
    select unnest(range(n_features)) as feature, true as is_known from saes where sae = $sae
)
select feature, count(feature_stats.feature) as n_rows
from all_features
full join feature_stats using (feature)
group by feature
having count(feature_stats.feature) <> 1 or not coalesce(bool_and(is_known), false)
