-- One row per SAE, feature, explainer and request for its explanations: requests of all draws, those whose answers
-- could not be used, and the questions about train windows that judged the draws. is_search: the chosen
-- explanation came from another request.
with named as (
    select sae, feature, explainer, request_id, not is_chosen as is_search
    from explanations
    union all
    select sae, feature, explainer, unnest(judge_request_ids) as request_id, true as is_search
    from explanations
)
select
    named.sae,
    named.feature,
    named.explainer,
    current_requests.request_id,
    bool_and(named.is_search) as is_search
from named
join llm_requests using (request_id)
join current_requests on current_requests.first_id = coalesce(llm_requests.repeats, llm_requests.request_id)
group by named.sae, named.feature, named.explainer, current_requests.request_id
