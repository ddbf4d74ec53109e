-- One row per explanation and scorer that chooses among several: the share of right choices, and the share that
-- guessing would reach, the mean of 1 / n_choices over its questions. The interval is Wilson's with the design
-- effect.
with asked as (
    select
        explanation_id,
        scorer,
        count(*) filter (is_put) as n,
        count(*) filter (is_right) as n_right,
        count(*) filter (is_put and not is_scored) as n_unscored,
        n - n_unscored >= $scoring_min_coverage::double * n as is_covered,
        exact_mean(1 / n_choices) as chance
    from question_answers
    where n_choices is not null
    group by explanation_id, scorer
)
select
    asked.explanation_id,
    asked.scorer,
    asked.chance,
    if(asked.is_covered, accuracies.value, null) as accuracy,
    if(asked.is_covered, accuracies.low, null) as accuracy_low,
    if(asked.is_covered, accuracies.high, null) as accuracy_high,
    if(asked.n > 0, asked.n_right / asked.n, null) as accuracy_all_wrong,
    if(asked.n > 0, (asked.n_right + asked.n_unscored) / asked.n, null) as accuracy_all_right
from asked
left join (from rate_intervals where rate = 'accuracy') as accuracies using (explanation_id, scorer)
