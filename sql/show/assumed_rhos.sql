-- One row per scorer of the SAE: the rho that its intervals assume, and the reason where it is the config's; and
-- the probability from which its answer counts as yes, where the controls set it.
select scorer, rho, reason, if(threshold_reason is null, threshold, null) as threshold
from scorer_rhos
order by scorer
