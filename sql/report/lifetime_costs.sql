-- One row per SAE: all requests about it that were ever answered in the lake, or used tokens and failed, and what
-- they used. current_requests has the part of this that the current tables cost. An unknown price makes the sum
-- null.
select
    sae,
    count(*) as n_requests,
    sum(prompt_tokens)::bigint as prompt_tokens,
    sum(completion_tokens)::bigint as completion_tokens,
    complete_sum(cost_usd) as cost_usd
from llm_requests
where is_answered(status) or prompt_tokens is not null
group by sae
order by sae
