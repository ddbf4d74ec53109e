-- One row per selected feature of the batch that a model is asked to explain and that fires in train documents:
-- the value it is set to, its largest activation there.
select batch_features.feature, feature_stats.max_activation_train as strength
from batch_features
join feature_stats using (feature)
where
    feature_stats.max_activation_train > 0
    and coalesce(batch_features.place <= $explaining_max_features::int, true)
order by batch_features.feature
