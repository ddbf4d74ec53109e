-- One row per SAE, route, explainer and scorer: the summary of the SAEs.
select summary.*
from summary
semi join exported_saes using (sae)
order by summary.sae, summary.route, summary.explainer, summary.scorer
