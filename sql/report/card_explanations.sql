-- One row per SAE, explainer and status: the number of explanations. Controls are explainers that the config does
-- not name.
select
    sae,
    explainer,
    status,
    count(*) as n_explanations,
    not list_contains($explaining_explainers::varchar[], explainer) as is_control
from explanations
group by sae, explainer, status
order by sae, is_control, explainer, status = 'ok' desc, status
