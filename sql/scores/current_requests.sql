-- One row per request that the lake's explanations and predictions name and that was answered, or took tokens
-- and failed: what it was about, and what it took. This is what the tables of an experiment cost, wherever that is
-- told. More than this was spent (lifetime_costs): on earlier prompts, models and selections, on pilots, and on
-- draws that were asked again as their answer could not be used.
with named as (
    select request_id from explanations
    union all
    select unnest(judge_request_ids) from explanations
    union all
    select request_id from predictions
)
select
    request_id,
    purpose,
    sae,
    feature,
    coalesce(resolved_model, model) as model,
    status,
    prompt_tokens,
    cached_tokens,
    completion_tokens,
    cost_usd,
    duration_ms,
    requested_at
from llm_requests
semi join named using (request_id)
where status not in ('http_error', 'too_long', 'budget') or prompt_tokens is not null
