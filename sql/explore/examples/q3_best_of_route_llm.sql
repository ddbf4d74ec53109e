-- One row per feature: the explanations that predict best, beyond rules.
select sae, feature, explainer, scorer, auroc, balanced_accuracy, ci_low, explanation
from scores
join explanations using (explanation_id, sae, feature, explainer)
join feature_routes using (sae, feature)
where route = 'llm' and role = 'test'
order by coalesce(auroc, balanced_accuracy) desc nulls last
limit 50
