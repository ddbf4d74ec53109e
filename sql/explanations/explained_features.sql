-- One row per selected feature of the batch: its route, its chosen rule, whether a language model is asked about it,
-- and whether it gets controls.
select
    b.feature,
    r.route,
    u.rule,
    b.place,
    coalesce(b.place <= $explaining_max_features::int, true) as is_asked,
    b.place <= $explaining_controls as is_control
from batch_features as b
join feature_routes as r using (feature)
left join feature_rules as u on u.feature = b.feature and u.is_chosen
order by b.feature
