-- One row per explanation that a scorer judges: a model's, by keywords, a control, or a rule of route `rule`; of
-- several draws the chosen one, or with scoring.all_draws each;
-- where the scorer asks a language model ($asks_model), of the first scoring.max_features features of the batch
-- by draw.
select explanations.explanation_id, explanations.feature, explanations.explainer, explanations.explanation
from explanations
join feature_routes using (feature)
join batch_features using (feature)
where
    explanations.status = 'ok'
    and (explanations.is_chosen or $scoring_all_draws)
    and (explanations.explainer <> 'rule' or feature_routes.route = 'rule')
    and (not $asks_model or coalesce(batch_features.place <= $scoring_max_features::int, true))
