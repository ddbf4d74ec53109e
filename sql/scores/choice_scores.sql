-- One row per explanation, scorer and role that chooses among several: the share of right choices, and that of
-- guessing, the mean of 1 / n_choices over its questions. The interval is Wilson's with the design effect.
with asked as (
    select
        explanation_id,
        scorer,
        role,
        count(*) filter (is_put) as n,
        count(*) filter (is_right) as n_right,
        count(*) filter (is_put and not is_scored) as n_unscored,
        exact_mean(1 / n_choices) as chance
    from question_answers
    where n_choices is not null
    group by explanation_id, scorer, role
)
select
    asked.explanation_id,
    asked.scorer,
    asked.role,
    asked.chance,
    rate_intervals.value as accuracy,
    rate_intervals.low as accuracy_low,
    rate_intervals.high as accuracy_high,
    if(asked.n > 0, asked.n_right / asked.n, null) as accuracy_all_wrong,
    if(asked.n > 0, (asked.n_right + asked.n_unscored) / asked.n, null) as accuracy_all_right
from asked
left join rate_intervals
    on rate_intervals.explanation_id = asked.explanation_id
    and rate_intervals.scorer = asked.scorer
    and rate_intervals.role = asked.role
    and rate_intervals.rate = 'accuracy'
    and asked.n - asked.n_unscored >= $scoring_min_coverage::double * asked.n
