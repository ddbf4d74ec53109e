-- One row per question that was drawn from all candidate slots (by population_scorers, such as detection, and
-- grade_scorers) and whose answer can be used: the slots of the population that its window stands for, `weight`,
-- which sum to n_slots over its stratum (`rate`: a decile, or a kind of silent ones).
-- Windows are taken documents in turn, each document's first in the order of the draw, then the second of each.
-- So a slot is the likelier taken the fewer its document holds. Where all first f slots of the documents were
-- taken, and of the next those within the share x of the draw, a slot of a document of m was taken with the chance
--   min(m, f + 1 - (1 - x)^(m - f)) / m
-- (exact for f = 0: the first of m slots lies within x), f and x being those of the last window answered
-- (`reach`).
-- The weight is proportional to its inverse (Hajek 1971). Silent windows drawn at random weigh alike.
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
    -- As decimals, so that their sum is the same in any order of the threads.
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
