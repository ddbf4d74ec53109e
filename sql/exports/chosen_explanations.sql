-- One row per feature with an explanation: the one that stands for it, by explainer $explainer, or where that is
-- null the first of explanation_places; and the model that wrote it.
with models as (
    select request_id, any_value(coalesce(resolved_model, model)) as model
    from llm_requests
    group by request_id
)
select
    explanation_places.sae,
    explanation_places.feature,
    explanation_places.explanation_id,
    explanation_places.explainer,
    explanation_places.explanation,
    models.model
from explanation_places
left join models using (request_id)
where
    if(
        $explainer::varchar is null,
        explanation_places.place = 1,
        explanation_places.explainer = $explainer and explanation_places.own_place = 1
    )
