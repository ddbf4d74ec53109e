-- One row per scorer of SAE $sae whose threshold the experiment's pilot has set: the probability from which an
-- answer counts as yes.
select scorer, threshold
from scorer_rhos
where sae = $sae and n_control_answers > 0 and threshold_reason is null
order by scorer
