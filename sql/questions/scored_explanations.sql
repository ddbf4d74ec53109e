-- One row per explanation that a scorer judges: a model's, by keywords, a control, or a rule of route `rule`; where the
-- scorer asks a language model ($asks_model), of the first scoring.max_features features of the batch by draw.
select e.explanation_id, e.feature, e.explainer, e.explanation
from explanations as e
join feature_routes as r using (feature)
join batch_features as b using (feature)
where
    e.status = 'ok'
    and (e.explainer <> 'rule' or r.route = 'rule')
    and (not $asks_model or coalesce(b.place <= $scoring_max_features::int, true))
