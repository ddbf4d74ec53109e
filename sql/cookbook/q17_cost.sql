-- One row per purpose and model: which requests has the lake ever sent, and what did they use?
select
    purpose,
    model,
    count(*) as n_requests,
    count(distinct row(sae, feature)) as n_features,
    sum(prompt_tokens)::bigint as prompt_tokens,
    sum(completion_tokens)::bigint as completion_tokens,
    round(sum(duration_ms) / 1000) as seconds,
    round(sum(cost_usd), 4) as cost_usd
from llm_requests
group by purpose, model
order by purpose, model
