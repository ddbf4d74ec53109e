-- One row per explanation that may stand for its feature: status ok, its explainer's choice among its draws, and
-- no control. `place` is its place among those of the feature, of which the first stands for it: that of the
-- explainer that the route asks for (on route `rule` of `rule`), else of the first in the config's order, `rule`
-- last, which has words for every feature. `own_place` is its place among those of its explainer. Scores have no
-- say: what is chosen by its score on test documents would have a score that flatters.
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
    ) as place,
    row_number() over (
        partition by explanations.sae, explanations.feature, explanations.explainer
        order by explanations.draw, explanations.explanation_id
    ) as own_place
from explanations
left join feature_routes using (sae, feature)
where
    explanations.status = 'ok'
    and explanations.is_chosen
    and list_contains($explaining_explainers::varchar[], explanations.explainer)
