-- One row per feature with an explanation: the one that stands for it. Of explainer $explainer; where that is
-- null, of the one that the feature's route asks for: on route `rule` of `rule`, else of the first in the config's
-- order that has one, `rule` last, which has words for every feature. Scores have no say: what is chosen by its
-- score on test documents would have a score that flatters. Of several draws it is the chosen one; controls stand
-- for no feature.
with models as (
    select request_id, any_value(coalesce(resolved_model, model)) as model
    from llm_requests
    group by request_id
)
select
    explanations.sae,
    explanations.feature,
    explanations.explanation_id,
    explanations.explainer,
    explanations.explanation,
    models.model
from explanations
left join models using (request_id)
left join feature_routes using (sae, feature)
where
    explanations.status = 'ok'
    and explanations.is_chosen
    and list_contains($explaining_explainers::varchar[], explanations.explainer)
    and ($explainer::varchar is null or explanations.explainer = $explainer)
qualify
    row_number() over (
        partition by explanations.sae, explanations.feature
        order by
            (explanations.explainer = 'rule') <> coalesce(feature_routes.route = 'rule', false),
            list_position($explaining_explainers::varchar[], explanations.explainer),
            explanations.draw,
            explanations.explanation_id
    ) = 1
