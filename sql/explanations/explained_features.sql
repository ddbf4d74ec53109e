-- One row per selected feature of the batch: its route, its chosen rule, the tokens that it promotes and
-- suppresses (null if not known), whether a language model is asked about it, whether it gets controls, and the
-- generation of the corpus of the batch's examples (null without examples).
select
    batch_features.feature,
    feature_routes.route,
    feature_rules.rule,
    feature_logits.promoted,
    feature_logits.suppressed,
    batch_features.place,
    coalesce(batch_features.place <= $explaining_max_features::int, true) as is_asked,
    batch_features.place <= $explaining_controls as is_control,
    (select max(examples.generation) from examples) as generation
from batch_features
join feature_routes using (feature)
left join feature_logits using (feature)
left join feature_rules on feature_rules.feature = batch_features.feature and feature_rules.is_chosen
order by batch_features.feature
