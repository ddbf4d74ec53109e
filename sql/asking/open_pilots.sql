-- One row per scorer whose pilot is to be asked again: too few explanations were judged, as requests failed.
select scorer
from scorer_rhos
where n_failed > 0 and starts_with(reason, n_explanations || ' of the ')
order by scorer
