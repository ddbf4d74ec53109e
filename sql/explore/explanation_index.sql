-- One row per explanation, controls and what is none among them: its feature, and the words in lower case, as they
-- are searched. One is shown (`is_shown`) if it has words, is no control, and is its explainer's choice among its
-- draws. `place` is its place among those of the feature, an LLM's before a rule; `own_place` that among those of
-- its explainer. Both are null for all others.
with told as (
    select
        explanation_id,
        sae,
        feature,
        explainer,
        draw,
        explanation,
        status,
        is_chosen,
        train_score,
        not list_contains($explaining_explainers::varchar[], explainer) as is_control,
        status = 'ok' and not is_control and is_chosen as is_shown
    from explanations
)
select
    *,
    if(is_shown, lower(explanation), null) as searched,
    if(is_shown, row_number() over (
        partition by sae, feature, is_shown order by explainer = 'rule', explainer, draw
    ), null) as place,
    if(is_shown, row_number() over (
        partition by sae, feature, is_shown, explainer order by draw
    ), null) as own_place
from told
order by sae, feature, is_control, explainer, draw
