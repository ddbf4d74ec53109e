-- One row per request about feature $feature of SAE $sae, in the order in which they were sent; 200 at most.
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
    count(*) over () as n_requests,
    sum(cost_usd) over () as total_usd
from llm_requests
where sae = $sae and feature = $feature
order by requested_at, request_id
limit 200
