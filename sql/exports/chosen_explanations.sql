-- One row per feature with an explanation: the one that stands for it, by explainer $explainer, or where that is
-- null the first of explanation_ranks; and the model that wrote it.
with models as (
    select request_id, any_value(coalesce(resolved_model, model)) as model
    from llm_requests
    group by request_id
)
select
    explanation_ranks.sae,
    explanation_ranks.feature,
    explanation_ranks.explanation_id,
    explanation_ranks.explainer,
    explanation_ranks.explanation,
    models.model
from explanation_ranks
left join models using (request_id)
where
    if(
        $explainer::varchar is null,
        explanation_ranks.rank = 1,
        explanation_ranks.explainer = $explainer and explanation_ranks.own_rank = 1
    )
