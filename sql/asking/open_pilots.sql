-- One row per scorer whose pilot is to be asked again: too few explanations were judged, or answers about controls
-- came, as requests failed.
select scorer
from scorer_rhos
where
    (n_failed > 0 and starts_with(reason, n_explanations || ' of the '))
    or (n_control_failed > 0 and starts_with(threshold_reason, n_control_answers || ' of the '))
order by scorer
