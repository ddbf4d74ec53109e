-- One row per scorer of the SAE: the rho that its intervals assume, and why it is the config's where it is; and
-- from which probability on it is taken to say yes, where its controls have told that.
select scorer, rho, reason, if(threshold_reason is null, threshold, null) as threshold
from scorer_rhos
order by scorer
