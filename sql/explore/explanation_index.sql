-- One row per explanation, controls and what is none among them: its feature, and the words in lower case, as they
-- are searched. `place` is its place among the feature's explanations in words, controls left out, an LLM's before
-- a rule and of several draws the chosen one first; `own_place` that among those of its explainer. Both are null
-- for all others.
with told as (
    select
        explanation_id,
        sae,
        feature,
        explainer,
        draw,
        is_chosen,
        explanation,
        status,
        not list_contains($explaining_explainers::varchar[], explainer) as is_control,
        status = 'ok' and not is_control as is_shown
    from explanations
)
select
    * exclude (is_chosen),
    if(is_shown, lower(explanation), null) as searched,
    if(is_shown, row_number() over (
        partition by sae, feature, is_shown order by explainer = 'rule', explainer, is_chosen desc, draw
    ), null) as place,
    if(is_shown, row_number() over (
        partition by sae, feature, is_shown, explainer order by is_chosen desc, draw
    ), null) as own_place
from told
order by sae, feature, is_control, explainer, draw
