-- One row per SAE, batch and purpose: what was estimated before the run.
select *
from estimate
order by sae, batch, purpose
