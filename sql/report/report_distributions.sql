-- One row per SAE, scorer and chosen explanation: its score. The report draws the distribution of scores from
-- these.
select
    sae,
    scorer,
    metric,
    explainer,
    not list_contains($explaining_explainers::varchar[], explainer) as is_control,
    feature,
    value_or_chance as value
from headline_scores
anti join other_draws using (explanation_id)
where value_or_chance is not null
order by sae, scorer, is_control, explainer, value_or_chance, feature
