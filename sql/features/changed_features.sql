-- One row per selected feature of the batch about which explainers ask a model, and that fires in train documents:
-- the strength to which it is set, its largest activation there.
select batch_features.feature, feature_stats.max_activation_train as strength
from batch_features
join feature_stats using (feature)
where
    feature_stats.max_activation_train > 0
    and coalesce(batch_features.place <= $explaining_max_features::int, true)
order by batch_features.feature
