-- One row per explanation that the LLM scorers ask about: an LLM's, a control, or a rule of route `rule`.
select explanations.explanation_id, explanations.feature, explanations.explainer, explanations.explanation
from explanations
join feature_routes using (feature)
where explanations.status = 'ok' and (explanations.explainer <> 'rule' or feature_routes.route = 'rule')
