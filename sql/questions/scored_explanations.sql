-- One row per explanation that a scorer judges (is_scored): of any explainer, controls included. Of several draws
-- it is the chosen one, or with scoring.all_draws each of them. Where the scorer asks a language model
-- ($asks_model), only the first scoring.max_features features of the batch by draw are judged.
select explanations.explanation_id, explanations.feature, explanations.explainer, explanations.explanation
from explanations
join feature_routes using (feature)
join batch_features using (feature)
where
    explanations.status = 'ok'
    and (explanations.is_chosen or $scoring_all_draws)
    and is_scored(explanations.explainer, feature_routes.route)
    and (not $asks_model or coalesce(batch_features.place <= $scoring_max_features::int, true))
