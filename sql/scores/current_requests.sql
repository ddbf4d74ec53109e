-- One row per request behind the lake's explanations and predictions that was answered, or that used tokens and
-- failed: what it was about, and what it used. This is the cost of an experiment's tables, wherever a cost is
-- shown. The lake may have spent more (lifetime_costs): on earlier prompts, models and selections, and on
-- pilots.
-- Where an answer cannot be used, the next draw is requested. The tables name the draw that counts, but all draws
-- of the same request (first_id) were paid for.
with named as (
    select request_id from explanations
    union all
    select unnest(judge_request_ids) from explanations
    union all
    select request_id from predictions
),
counting as (
    select distinct coalesce(repeats, request_id) as first_id
    from llm_requests
    semi join named using (request_id)
),
draws as (
    select *, coalesce(repeats, request_id) as first_id from llm_requests
)
select
    request_id,
    first_id,
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
from draws
semi join counting using (first_id)
where is_answered(status) or prompt_tokens is not null
