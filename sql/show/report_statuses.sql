-- One row per explainer and status of SAE $sae, controls left out: how many explanations, of several draws the
-- chosen one.
select explainer, status, count(*) as n
from explanations
where sae = $sae and is_chosen and list_contains($explaining_explainers::varchar[], explainer)
group by explainer, status
order by explainer, status = 'ok' desc, n desc, status
