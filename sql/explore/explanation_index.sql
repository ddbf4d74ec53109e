-- One row per explanation, including controls and failures: its feature, and its words in lower case for
-- searching. It is shown (`is_shown`) if it may stand for its feature; `rank` is then its rank among those of
-- the feature, and `own_rank` among those of its explainer (explanation_ranks). Both are null for all others.
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
    explanation_ranks.rank is not null as is_shown,
    if(is_shown, lower(explanations.explanation), null) as searched,
    explanation_ranks.rank,
    explanation_ranks.own_rank
from explanations
left join explanation_ranks using (explanation_id)
order by explanations.sae, explanations.feature, is_control, explanations.explainer, explanations.draw
