-- One row per question about feature $feature of SAE $sae that a scorer was asked of explanation $explanation_id
-- on test windows: the true answer, the scorer's, why there is none, and the request that asked it (null where
-- no model was asked).
select scorer, example_id, label, prediction, probability, values, status, request_id
from predictions
where
    sae = $sae
    and feature = $feature
    and explanation_id = $explanation_id
    and example_id is not null
    and status <> 'not_asked'
order by scorer, question_id
