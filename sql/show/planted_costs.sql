-- One row per purpose: what the requests behind the planted SAE's tables used, per explanation.
select
    purpose,
    count(*) / $n_explanations::int as requests,
    sum(prompt_tokens) / $n_explanations::int as prompt_tokens,
    sum(completion_tokens) / $n_explanations::int as completion_tokens,
    sum(cost_usd) / $n_explanations::int as cost_usd,
    any_value(model) as model
from current_requests
where sae = $sae
group by purpose
order by purpose
