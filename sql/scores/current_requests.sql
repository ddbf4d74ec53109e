-- One row per request that the lake's explanations and predictions come from and that was answered, or took
-- tokens and failed: what it was about, and what it took. This is what the tables of an experiment cost, wherever
-- that is told. More than this was spent (lifetime_costs): on earlier prompts, models and selections, and pilots.
-- Where an answer cannot be used, the next draw is asked for: the tables name the one that counts, and all draws
-- of what it asks (first_id) were paid.
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
where status not in ('http_error', 'too_long', 'budget') or prompt_tokens is not null
