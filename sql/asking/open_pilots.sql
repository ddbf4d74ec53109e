-- One row per scorer whose pilot has to be asked again: because requests failed, too few explanations or features
-- were judged, or too few answers about controls came.
select scorer
from scorer_rhos
where
    (n_failed > 0 and (n_explanations < $least_explanations::int or n_features < $least_features::int))
    or (n_control_failed > 0 and n_control_answers < $least_answers::int)
order by scorer
