-- One row per request about feature $feature of SAE $sae, in the order in which they were sent: $page_rows of them
-- after the first $first_row, or $request_id alone; with the sums over all of the feature's requests. is_current:
-- whether the current tables come from it (current_requests); explainers: those whose explanations it is about.
with named as (
    select request_id, explainer
    from explanations
    where sae = $sae
    union
    select unnest(judge_request_ids), explainer
    from explanations
    where sae = $sae
    union
    select predictions.request_id, explanations.explainer
    from predictions
    join explanations using (explanation_id)
    where predictions.sae = $sae
),
current_requests as (
    select request_id, string_agg(explainer, ', ' order by explainer) as explainers
    from named
    where request_id is not null
    group by request_id
),
own as (
    select
        llm_requests.*,
        current_requests.explainers,
        current_requests.request_id is not null as is_current,
        count(*) over () as n_requests,
        count(current_requests.request_id) over () as n_current,
        sum(cost_usd) over () as total_usd,
        sum(if(is_current, cost_usd, null)) over () as current_usd,
        sum(prompt_tokens) over () as total_prompt_tokens,
        sum(completion_tokens) over () as total_completion_tokens
    from llm_requests
    left join current_requests using (request_id)
    where llm_requests.sae = $sae and llm_requests.feature = $feature
)
select
    request_id,
    purpose,
    coalesce(resolved_model, model) as model,
    status,
    error,
    finish_reason,
    prompt_tokens,
    cached_tokens,
    completion_tokens,
    cost_usd,
    duration_ms,
    requested_at,
    messages,
    response,
    is_current,
    explainers,
    n_requests,
    n_current,
    total_usd,
    current_usd,
    total_prompt_tokens,
    total_completion_tokens
from own
where $request_id::varchar is null or request_id = $request_id
order by requested_at, request_id
limit $page_rows offset $first_row
