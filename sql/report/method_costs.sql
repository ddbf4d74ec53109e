-- One row per purpose and model of the requests that the tables come from: their number, the number of features
-- that they are about, and tokens, seconds and dollars per request and per feature. Failed attempts that used
-- tokens and time are included.
with answered as (
    select
        purpose,
        model,
        count(*) as n_requests,
        count(*) filter (where status = 'ok') as n_ok,
        count(distinct concat_ws(' ', sae, feature)) as n_features,
        sum(prompt_tokens)::double as prompt_tokens,
        sum(cached_tokens)::double as cached_tokens,
        sum(completion_tokens)::double as completion_tokens,
        sum(duration_ms)::double / 1000 as seconds,
        complete_sum(cost_usd) as cost_usd,
        min(requested_at) as first_requested_at,
        max(requested_at) as last_requested_at
    from current_requests
    group by purpose, model
)
select
    *,
    prompt_tokens / n_requests as prompt_tokens_a_request,
    completion_tokens / n_requests as completion_tokens_a_request,
    seconds / n_requests as seconds_a_request,
    prompt_tokens / n_features as prompt_tokens_a_feature,
    completion_tokens / n_features as completion_tokens_a_feature,
    seconds / n_features as seconds_a_feature,
    1000000 * cost_usd / n_features as cost_usd_a_million_features
from answered
order by purpose, model
