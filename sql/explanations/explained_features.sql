-- One row per selected feature of the batch: its route, its chosen rule, whether a language model is asked about
-- it, and whether it gets controls.
select
    batch_features.feature,
    feature_routes.route,
    feature_rules.rule,
    batch_features.place,
    coalesce(batch_features.place <= $explaining_max_features::int, true) as is_asked,
    batch_features.place <= $explaining_controls as is_control
from batch_features
join feature_routes using (feature)
left join feature_rules on feature_rules.feature = batch_features.feature and feature_rules.is_chosen
order by batch_features.feature
