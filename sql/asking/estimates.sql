-- One row per SAE, batch and purpose, controls apart: what was estimated before the run.
select *
from estimate
order by sae, batch, purpose, is_control
