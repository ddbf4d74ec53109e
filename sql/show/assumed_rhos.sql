-- One row per scorer of the SAE: the rho that its intervals assume, and why it is the config's where it is.
select scorer, rho, reason
from scorer_rhos
order by scorer
