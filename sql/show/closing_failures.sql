-- One row per purpose and reason for which requests of SAE $sae got no answer, the most frequent first. Reasons
-- that differ only in their numbers count as one.
with failed as (
    select request_id
    from explanations
    where sae = $sae and status in ('http_error', 'too_long')
    union
    select predictions.request_id
    from predictions
    join explanations using (explanation_id)
    where explanations.sae = $sae and predictions.status in ('http_error', 'too_long')
)
select llm_requests.purpose, min(llm_requests.error) as error, count(*) as n_requests
from llm_requests
semi join failed using (request_id)
group by llm_requests.purpose, regexp_replace(llm_requests.error, '[0-9]+', '#', 'g')
order by n_requests desc, llm_requests.purpose, error
limit 5
