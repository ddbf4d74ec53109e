-- One row per SAE, feature, explainer and request that its explanations took: those of all draws, and the
-- questions about train windows that judged them. is_search: the chosen explanation came from another.
with named as (
    select sae, feature, explainer, request_id, not is_chosen as is_search
    from explanations
    union all
    select sae, feature, explainer, unnest(judge_request_ids) as request_id, true as is_search
    from explanations
)
select sae, feature, explainer, request_id, bool_and(is_search) as is_search
from named
where request_id is not null
group by sae, feature, explainer, request_id
