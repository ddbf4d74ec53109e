-- One row per SAE, scorer and explanation that was chosen: its score, by which the distribution of scores is
-- drawn.
select
    sae,
    scorer,
    metric,
    explainer,
    not list_contains($explaining_explainers::varchar[], explainer) as is_control,
    feature,
    value
from headline_scores
anti join other_draws using (explanation_id)
where value is not null
order by sae, scorer, is_control, explainer, value, feature
