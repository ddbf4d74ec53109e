-- One row per SAE, route, explainer and scorer with requests: cost and tokens of the distinct requests that its
-- explanations and answers name, including draws whose answers could not be used. An explanation's own request
-- counts in the row of every scorer. The part that a search for the explanation took is given separately. An
-- unknown price makes a sum null.
with named as (
    select
        summarised_scores.sae,
        summarised_scores.route,
        summarised_scores.explainer,
        summarised_scores.scorer,
        current_requests.request_id,
        false as is_search
    from summarised_scores
    join predictions using (explanation_id, scorer)
    join llm_requests on llm_requests.request_id = predictions.request_id
    join current_requests on current_requests.first_id = coalesce(llm_requests.repeats, llm_requests.request_id)
    union
    select
        summarised_scores.sae,
        summarised_scores.route,
        summarised_scores.explainer,
        summarised_scores.scorer,
        explaining_requests.request_id,
        explaining_requests.is_search
    from summarised_scores
    join explaining_requests
        on explaining_requests.sae = summarised_scores.sae
        and explaining_requests.feature = summarised_scores.feature
        and explaining_requests.explainer = summarised_scores.explainer
)
select
    named.sae,
    named.route,
    named.explainer,
    named.scorer,
    complete_sum(current_requests.cost_usd) as cost_usd,
    coalesce(sum(current_requests.prompt_tokens), 0)::bigint as prompt_tokens,
    coalesce(sum(current_requests.cached_tokens), 0)::bigint as cached_tokens,
    coalesce(sum(current_requests.completion_tokens), 0)::bigint as completion_tokens,
    complete_sum(if(is_search, current_requests.cost_usd, 0)) as search_cost_usd,
    coalesce(
        sum(current_requests.prompt_tokens + current_requests.completion_tokens) filter (is_search), 0
    )::bigint as search_tokens
from named
join current_requests using (request_id)
group by named.sae, named.route, named.explainer, named.scorer
