-- One row per SAE, purpose and model of the requests that its tables come from: their number, the number of
-- features, their tokens and price. An unknown price makes the sum null.
with asked as (
    select
        sae,
        purpose,
        model,
        count(*) as n_requests,
        count(*) filter (status <> 'ok') as n_failed,
        count(distinct feature) as n_features,
        sum(prompt_tokens)::bigint as prompt_tokens,
        sum(completion_tokens)::bigint as completion_tokens,
        complete_sum(cost_usd) as cost_usd
    from current_requests
    group by sae, purpose, model
)
select *, 1000000 * cost_usd / n_features as usd_a_million
from asked
order by sae, purpose <> 'explain', purpose, model
