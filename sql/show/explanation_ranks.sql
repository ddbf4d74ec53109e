-- One row per explanation that may stand for its feature: status ok, its explainer's choice among its draws, and
-- not a control. `rank` orders those of a feature, and `own_rank` those of its explainer; the first stands for the
-- feature. That is the one by the explainer that the route calls for (on route `rule`, by `rule`), else by the
-- first in the config's order; `rule` comes last there, as it has words for every feature.
-- Scores play no part: an explanation chosen by its score on test documents would have a score that is biased
-- upwards.
select
    explanations.sae,
    explanations.feature,
    explanations.explanation_id,
    explanations.explainer,
    explanations.explanation,
    explanations.request_id,
    row_number() over (
        partition by explanations.sae, explanations.feature
        order by
            (explanations.explainer = 'rule') <> coalesce(feature_routes.route = 'rule', false),
            list_position($explaining_explainers::varchar[], explanations.explainer),
            explanations.draw,
            explanations.explanation_id
    ) as rank,
    row_number() over (
        partition by explanations.sae, explanations.feature, explanations.explainer
        order by explanations.draw, explanations.explanation_id
    ) as own_rank
from explanations
left join feature_routes using (sae, feature)
where
    explanations.status = 'ok'
    and explanations.is_chosen
    and list_contains($explaining_explainers::varchar[], explanations.explainer)
