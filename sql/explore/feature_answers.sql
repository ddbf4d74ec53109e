-- One row per question about a test window of feature $feature of SAE $sae that a scorer was asked for explanation
-- $explanation_id: the true answer, the scorer's, or why there is none, and the request that asked it (null where
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
