-- One row per explanation, scorer, metric, stratum and weighting.
-- n: the number of observations behind the value: answered questions, for auroc and average_precision those with
-- a probability; for rule_exact, test tokens; for the population's coverage, slots; for simulation, tokens; for
-- graded, windows.
-- metric: those of `scores`; `accuracy`, the share of right answers in a stratum; `coverage`, the share of all
-- activating or silent slots that lie in strata with answers; for simulation `correlation`, `explained` and
-- `explained_calibrated`; for graded `responsiveness` and `purity`.
-- stratum: `all`; for accuracy the kind of the example, the decile of a positive's peak, or a stratum of the
-- scorer's own; for auroc the kind of silent windows that positives are ranked against.
-- weighting: `sample`, or `population` (detection: all candidate slots of test documents; rule_exact: every test
-- token).
-- A population figure of detection is null where its interval is wider than max_interval; a stratum's accuracy
-- where fewer than min_coverage of its own questions were answered; its auroc, of its negatives.
with figures as (
    -- max_interval applies only to detection's population figures, which are estimated from answers.
    select *, 'sample' as weighting, null::double as max_interval from sample_scores
    union all by name
    select
        *,
        'population' as weighting,
        $scoring_max_interval::double as max_interval,
        n_positive + n_negative as n_scored,
        n_positive + n_negative as n_predicted
    from population_scores
    union all by name
    select *, 'population' as weighting from rule_exact
),
metrics as (
    select
        explanation_id,
        scorer,
        weighting,
        max_interval,
        unnest([
            {
                'metric': 'balanced_accuracy', 'figure': balanced_accuracy, 'low': balanced_accuracy_low,
                'high': balanced_accuracy_high, 'n': n_scored
            },
            {
                'metric': 'precision', 'figure': precision, 'low': precision_low, 'high': precision_high,
                'n': n_predicted
            },
            {'metric': 'recall', 'figure': recall, 'low': recall_low, 'high': recall_high, 'n': n_positive},
            {
                'metric': 'false_positive_rate', 'figure': false_positive_rate, 'low': false_positive_rate_low,
                'high': false_positive_rate_high, 'n': n_negative
            },
            {'metric': 'f1', 'figure': f1, 'low': f1_low, 'high': f1_high, 'n': n_scored},
            {'metric': 'auroc', 'figure': auroc, 'low': auroc_low, 'high': auroc_high, 'n': n_ranked},
            {'metric': 'average_precision', 'figure': average_precision, 'low': null, 'high': null, 'n': n_ranked}
        ], recursive := true)
    from figures
),
overall as (
    select
        explanation_id,
        scorer,
        metric,
        'all' as stratum,
        weighting,
        high - low > max_interval as is_wide,
        if(is_wide, null, figure) as value,
        if(is_wide, null, low) as ci_low,
        if(is_wide, null, high) as ci_high,
        n
    from metrics
    where weighting = 'sample' or metric not in ('auroc', 'average_precision')
),
in_strata as (
    select
        explanation_id,
        scorer,
        'accuracy' as metric,
        if(rate = 'accuracy', 'all', rate) as stratum,
        value,
        low,
        high,
        n,
        coverage
    from rate_intervals
    where rate not in ('recall', 'specificity', 'precision')
    union all
    select
        ranked_scores.explanation_id,
        ranked_scores.scorer,
        'auroc',
        ranked_scores.stratum,
        ranked_scores.auroc,
        ranked_scores.auroc_low,
        ranked_scores.auroc_high,
        ranked_scores.n,
        rate_intervals.coverage
    from ranked_scores
    join rate_intervals
        on rate_intervals.explanation_id = ranked_scores.explanation_id
        and rate_intervals.scorer = ranked_scores.scorer
        and rate_intervals.rate = ranked_scores.stratum
    where ranked_scores.stratum <> 'all'
),
strata as (
    select
        explanation_id,
        scorer,
        metric,
        stratum,
        'sample' as weighting,
        coverage >= $scoring_min_coverage::double as is_told,
        if(is_told, value, null) as value,
        if(is_told, low, null) as ci_low,
        if(is_told, high, null) as ci_high,
        n
    from in_strata
),
covered as (
    select
        explanation_id,
        scorer,
        'population' as weighting,
        'coverage' as metric,
        unnest([
            {'stratum': 'activating', 'value': share_activating, 'n': n_activating::bigint},
            {'stratum': 'silent', 'value': share_silent, 'n': n_silent::bigint}
        ], recursive := true)
    from population_scores
),
simulated as (
    select
        explanation_id,
        scorer,
        stratum,
        'sample' as weighting,
        unnest([
            {
                'metric': 'correlation', 'value': correlation, 'ci_low': correlation_low,
                'ci_high': correlation_high, 'n': n_tokens
            },
            {'metric': 'explained', 'value': explained, 'ci_low': null, 'ci_high': null, 'n': n_tokens},
            {
                'metric': 'explained_calibrated', 'value': explained_calibrated, 'ci_low': null, 'ci_high': null,
                'n': n_tokens
            }
        ], recursive := true)
    from simulation_scores
),
graded as (
    select
        explanation_id,
        scorer,
        'all' as stratum,
        weighting,
        unnest([
            {
                'metric': 'responsiveness', 'value': 2 * auroc - 1, 'ci_low': 2 * auroc_low - 1,
                'ci_high': 2 * auroc_high - 1, 'n': n_scored
            },
            {
                'metric': 'purity', 'value': average_precision, 'ci_low': null, 'ci_high': null, 'n': n_scored
            }
        ], recursive := true)
    from graded_scores
),
all_details as (
    select * from overall
    union all by name
    select * from strata
    union all by name
    select * from covered
    union all by name
    select * from simulated
    union all by name
    select * from graded
)
select
    all_details.explanation_id,
    explanations.sae,
    explanations.feature,
    explanations.explainer,
    all_details.scorer,
    'test' as role,
    all_details.metric,
    all_details.stratum,
    all_details.weighting,
    all_details.value,
    all_details.ci_low,
    all_details.ci_high,
    all_details.n
from all_details
join explanations using (explanation_id)
order by sae, feature, explanation_id, scorer, weighting, metric, stratum
