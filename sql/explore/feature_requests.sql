-- One row per request about feature $feature of SAE $sae, in the order in which they were sent, $page_rows from
-- the one behind the first $first_row on, or that of $request_id alone; with the sums over all of the feature's.
with own as (
    select
        *,
        count(*) over () as n_requests,
        sum(cost_usd) over () as total_usd,
        sum(prompt_tokens) over () as total_prompt_tokens,
        sum(completion_tokens) over () as total_completion_tokens
    from llm_requests
    where sae = $sae and feature = $feature
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
    n_requests,
    total_usd,
    total_prompt_tokens,
    total_completion_tokens
from own
where $request_id::varchar is null or request_id = $request_id
order by requested_at, request_id
limit $page_rows offset $first_row
