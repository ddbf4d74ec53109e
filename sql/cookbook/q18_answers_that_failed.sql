-- One row per purpose and status: which answers could not be used, and why?
select
    purpose,
    status,
    count(*) as n_requests,
    any_value(left(coalesce(error, response), 120)) as for_example
from llm_requests
where status <> 'ok'
group by purpose, status
order by n_requests desc, purpose, status
