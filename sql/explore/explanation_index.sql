-- One row per explanation, including controls and failures: its feature, and its words in lower case for
-- searching. It is shown (`is_shown`) if it may stand for its feature; `place` is then its place among those of
-- the feature, and `own_place` its place among those of its explainer (explanation_places). Both are null for all
-- others.
select
    explanations.explanation_id,
    explanations.sae,
    explanations.feature,
    explanations.explainer,
    explanations.draw,
    explanations.explanation,
    explanations.status,
    explanations.is_chosen,
    explanations.train_score,
    not list_contains($explaining_explainers::varchar[], explanations.explainer) as is_control,
    explanation_places.place is not null as is_shown,
    if(is_shown, lower(explanations.explanation), null) as searched,
    explanation_places.place,
    explanation_places.own_place
from explanations
left join explanation_places using (explanation_id)
order by explanations.sae, explanations.feature, is_control, explanations.explainer, explanations.draw
