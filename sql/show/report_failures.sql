-- One row per purpose and reason of the requests of SAE $sae that got no answer, the most frequent first. Reasons
-- that differ in their numbers are one.
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
select r.purpose, min(r.error) as error, count(*) as n_requests
from llm_requests as r
semi join failed using (request_id)
group by r.purpose, regexp_replace(r.error, '[0-9]+', '#', 'g')
order by n_requests desc, r.purpose, error
limit 5
