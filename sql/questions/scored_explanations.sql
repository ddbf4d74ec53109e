-- One row per explanation that the LLM scorers ask about: an LLM's, a control, or a rule of route `rule`.
select e.explanation_id, e.feature, e.explainer, e.explanation
from explanations as e
join feature_routes as r using (feature)
where e.status = 'ok' and (e.explainer <> 'rule' or r.route = 'rule')
