-- One row per explanation, scorer and stratum in which answers of both labels have a probability. stratum: `all`,
-- or a kind of silent window to which the negatives are restricted. An answer without a probability is unscored
-- here; where fewer than min_coverage of the questions have one, there is no row.
-- A positive's placement is the share of negatives below it, a negative's the share of positives above it, ties
-- one half. auroc is their mean, with variance S10 / n_positive + S01 / n_negative (DeLong et al. 1988, S by
-- placement_variance), n by the design effect; null where a label has a single question, or the questions of each
-- are placed alike. n_least: the smaller effective n.
-- average_precision: sum over thresholds of (gain in recall) x precision.
with judged as (
    select explanation_id, scorer
    from question_answers
    group by explanation_id, scorer
    having count(probability) filter (is_scored) >= $scoring_min_coverage::double * count(*) filter (is_put)
),
answers as (
    select
        explanation_id,
        scorer,
        label,
        probability,
        unnest(if(label, ['all', 'same_token', 'neighbour', 'random'], ['all', kind])) as stratum
    from question_answers
    semi join judged using (explanation_id, scorer)
    where is_scored and probability is not null
),
levels as (
    select
        explanation_id,
        scorer,
        stratum,
        probability,
        count(*) filter (label) as n_at_positive,
        count(*) filter (not label) as n_at_negative
    from answers
    where stratum is not null
    group by explanation_id, scorer, stratum, probability
),
placed as (
    -- twice_under: twice the placement of a positive, the negatives below it and half of those at its level;
    -- twice_over: twice that of a negative. up counts from the highest probability to this one.
    select
        *,
        sum(n_at_positive) over level_up as n_up_positive,
        sum(n_at_negative) over level_up as n_up_negative,
        2 * sum(n_at_negative) over level_down - n_at_negative as twice_under,
        2 * n_up_positive - n_at_positive as twice_over
    from levels
    window
        level_up as (partition by explanation_id, scorer, stratum order by probability desc),
        level_down as (partition by explanation_id, scorer, stratum order by probability)
),
summed as (
    -- Placements are kept as whole numbers, twice the count, so that the sums do not depend on their order.
    select
        explanation_id,
        scorer,
        stratum,
        sum(n_at_positive)::double as n_positive,
        sum(n_at_negative)::double as n_negative,
        sum(n_at_positive * twice_under)::double as sum_under,
        sum(n_at_positive * twice_under * twice_under)::double as squares_under,
        sum(n_at_negative * twice_over)::double as sum_over,
        sum(n_at_negative * twice_over * twice_over)::double as squares_over,
        exact_sum(n_at_positive * n_up_positive / (n_up_positive + n_up_negative)) as gains
    from placed
    group by explanation_id, scorer, stratum
    having sum(n_at_positive) > 0 and sum(n_at_negative) > 0
),
measured as (
    -- (squares - sum^2 / n) / (n - 1) is the variance of the doubled placements of a label, which is in units of
    -- twice the number of the other label.
    select
        summed.*,
        sum_under / (2 * n_positive * n_negative) as auroc,
        gains / n_positive as average_precision,
        greatest(0, squares_under - sum_under * sum_under / n_positive) / (4 * n_negative * n_negative)
        / (n_positive - 1) as spread_of_positives,
        greatest(0, squares_over - sum_over * sum_over / n_negative) / (4 * n_positive * n_positive)
        / (n_negative - 1) as spread_of_negatives,
        n_positive * positives.n_effective / positives.n as effective_positives,
        n_negative * negatives.n_effective / negatives.n as effective_negatives,
        if(
            n_positive > 1 and n_negative > 1 and spread_of_positives + spread_of_negatives > 1e-12,
            placement_variance(auroc, true, spread_of_positives, n_positive) / effective_positives
            + placement_variance(auroc, false, spread_of_negatives, n_negative) / effective_negatives,
            null
        ) as variance,
        least(effective_positives, effective_negatives) as n_least
    from summed
    join rate_intervals as positives using (explanation_id, scorer)
    join rate_intervals as negatives using (explanation_id, scorer)
    where positives.rate = 'recall' and negatives.rate = if(summed.stratum = 'all', 'specificity', summed.stratum)
)
select
    explanation_id,
    scorer,
    stratum,
    (n_positive + n_negative)::bigint as n,
    auroc,
    auroc_low(auroc, variance, n_least, $scoring_z::double) as auroc_low,
    auroc_high(auroc, variance, n_least, $scoring_z::double) as auroc_high,
    average_precision
from measured
