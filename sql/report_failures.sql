-- One row per purpose and reason of the requests of SAE $sae that got no answer, the most frequent first.
with failed as (
    select request_id
    from explanations
    where sae = $sae and status = 'http_error'
    union
    select p.request_id
    from predictions as p
    join explanations as e using (explanation_id)
    where e.sae = $sae and p.status = 'http_error'
)
select r.purpose, r.error, count(*) as n_requests
from llm_requests as r
semi join failed using (request_id)
group by r.purpose, r.error
order by n_requests desc, r.purpose, r.error
limit 5
