-- One row per feature of the pilot that scorers judge, in the order of its draw: the explanation of the first of
-- the config's explainers that has one.
select scored_explanations.feature, scored_explanations.explainer, scored_explanations.explanation
from scored_explanations
join batch_features using (feature)
where
    list_contains($explaining_explainers::varchar[], scored_explanations.explainer)
    and batch_features.place <= $scoring_pilot_features
qualify
    row_number() over (
        partition by scored_explanations.feature
        order by
            list_position($explaining_explainers::varchar[], scored_explanations.explainer),
            scored_explanations.explanation_id
    ) = 1
order by batch_features.place
