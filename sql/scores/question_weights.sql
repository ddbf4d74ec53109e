-- One row per question whose window was drawn from all candidate slots (by population_scorers, such as detection,
-- and grade_scorers) and whose answer can be used: `weight`, the number of slots of the population that its window
-- stands for. Weights sum to n_slots over a stratum (`rate`: a decile, or a kind of silent ones).
-- Windows are taken from documents in turn: each document's first in the order of the draw, then the second of
-- each. So a slot is more likely to be taken the fewer slots its document holds. Where the first f slots of every
-- document were taken, and of the next ones those within the share x of the draw, a slot of a document with m
-- slots was taken with probability
--   min(m, f + 1 - (1 - x)^(m - f)) / m
-- (exact for f = 0: the first of m slots lies within x), f and x being those of the last window answered
-- (`reach`).
-- The weight is proportional to the inverse of this probability (Hajek 1971). Silent windows drawn at random have
-- equal weights.
with answered as (
    select
        predictions.explanation_id,
        predictions.scorer,
        predictions.question_id,
        predictions.label = predictions.prediction as is_right,
        stratum_name(examples.kind, examples.decile) as rate,
        examples.n_slots,
        examples.n_document_slots as m,
        max(examples.reach) over by_stratum as last_reach,
        floor(last_reach) as f,
        least(m, f + 1 - power(1 - (last_reach - f), greatest(m - f, 0))) / m as probability
    from predictions
    join examples using (example_id)
    where
        list_contains(
            list_concat($scoring_population_scorers::text[], $scoring_grade_scorers::text[]), predictions.scorer
        )
        and predictions.status = 'ok'
        and (predictions.prediction is not null or predictions.values[1] is not null)
        and examples.n_slots is not null
    window by_stratum as (
        partition by predictions.explanation_id, predictions.scorer, examples.kind, examples.decile
    )
),
inverted as (
    -- As decimals, so that their sum does not depend on the order of threads.
    select *, coalesce(1 / probability, 1)::decimal(38, 12) as times
    from answered
)
select
    explanation_id,
    scorer,
    question_id,
    is_right,
    rate,
    n_slots * times::double / sum(times) over (partition by explanation_id, scorer, rate)::double as weight
from inverted
