-- One row per explainer and status of SAE $sae, controls left out: the number of explanations; of several draws,
-- only the chosen one counts.
select explainer, status, count(*) as n
from explanations
where sae = $sae and is_chosen and list_contains($explaining_explainers::varchar[], explainer)
group by explainer, status
order by explainer, status = 'ok' desc, n desc, status
