-- One row per SAE, purpose and model of the requests that were sent: how many, for how many features, their tokens
-- and price. An unknown price adds nothing, and is_priced says whether any is known.
select
    sae,
    purpose,
    coalesce(resolved_model, model) as model,
    count(*) as n_requests,
    count(*) filter (where status <> 'ok') as n_failed,
    count(distinct feature) as n_features,
    sum(prompt_tokens)::bigint as prompt_tokens,
    sum(completion_tokens)::bigint as completion_tokens,
    coalesce(sum(cost_usd), 0) as cost_usd,
    coalesce(bool_or(cost_usd > 0), false) as is_priced,
    sum(duration_ms) / 1000 as seconds
from llm_requests
group by sae, purpose, coalesce(resolved_model, model)
order by sae, purpose <> 'explain', purpose, model
