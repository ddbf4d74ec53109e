-- One row per explanation in words that is no control: its feature, its place among those of the feature, and the
-- words in lower case, as they are searched. An LLM's explanation goes before a rule.
select
    explanation_id,
    sae,
    feature,
    explainer,
    explanation,
    lower(explanation) as searched,
    row_number() over (partition by sae, feature order by explainer = 'rule', explainer, draw) as place,
    row_number() over (partition by sae, feature, explainer order by draw) as own_place
from explanations
where status = 'ok' and list_contains($explaining_explainers::varchar[], explainer)
order by sae, feature, place
