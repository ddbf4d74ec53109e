-- One row per explanation, scorer, role, metric, stratum and weighting; n is what the value rests on: answered
-- questions, test tokens for rule_exact, all slots for the population's coverage.
-- stratum: `all`; for metric accuracy (share of right answers) the kind of the example, or the decile of a
-- positive's peak; for auroc the kind of silent windows that positives are ranked against. weighting: `sample`, or `population` (detection: all candidate slots of the role; rule_exact:
-- every test token). Metric coverage: the share of activating or silent slots in strata that have answers.
-- A population figure of detection is null where its interval spans more than max_interval.
with sample as (
    select
        explanation_id,
        scorer,
        role,
        'all' as stratum,
        'sample' as weighting,
        unnest([
            {'metric': 'balanced_accuracy', 'value': balanced_accuracy, 'ci_low': balanced_accuracy_low,
                'ci_high': balanced_accuracy_high, 'n': n_scored},
            {'metric': 'precision', 'value': precision, 'ci_low': precision_low, 'ci_high': precision_high,
                'n': n_predicted},
            {'metric': 'recall', 'value': recall, 'ci_low': recall_low, 'ci_high': recall_high, 'n': n_positive},
            {'metric': 'false_positive_rate', 'value': false_positive_rate, 'ci_low': false_positive_rate_low,
                'ci_high': false_positive_rate_high, 'n': n_negative},
            {'metric': 'f1', 'value': f1, 'ci_low': f1_low, 'ci_high': f1_high, 'n': n_scored},
            {'metric': 'auroc', 'value': auroc, 'ci_low': auroc_low, 'ci_high': auroc_high, 'n': n_scored},
            {'metric': 'average_precision', 'value': average_precision, 'ci_low': null, 'ci_high': null,
                'n': n_scored}
        ], recursive := true)
    from sample_scores
),
strata as (
    select
        r.explanation_id,
        r.scorer,
        r.role,
        r.rate as stratum,
        'sample' as weighting,
        'accuracy' as metric,
        if(c.is_covered, r.value, null) as value,
        if(c.is_covered, r.low, null) as ci_low,
        if(c.is_covered, r.high, null) as ci_high,
        r.n
    from rate_intervals as r
    join sample_scores as c using (explanation_id, scorer, role)
    where r.rate not in ('recall', 'specificity', 'precision')
),
ranked as (
    select
        r.explanation_id,
        r.scorer,
        r.role,
        r.stratum,
        'sample' as weighting,
        'auroc' as metric,
        if(c.is_covered, r.auroc, null) as value,
        if(c.is_covered, r.auroc_low, null) as ci_low,
        if(c.is_covered, r.auroc_high, null) as ci_high,
        r.n
    from ranked_scores as r
    join sample_scores as c using (explanation_id, scorer, role)
    where r.stratum <> 'all'
),
population_figures as (
    select
        explanation_id,
        scorer,
        role,
        'all' as stratum,
        'population' as weighting,
        n_positive + n_negative as n_questions,
        unnest([
            {'metric': 'balanced_accuracy', 'value': balanced_accuracy, 'ci_low': balanced_accuracy_low,
                'ci_high': balanced_accuracy_high, 'n': n_questions},
            {'metric': 'precision', 'value': precision, 'ci_low': precision_low, 'ci_high': precision_high,
                'n': n_questions},
            {'metric': 'recall', 'value': recall, 'ci_low': recall_low, 'ci_high': recall_high, 'n': n_positive},
            {'metric': 'false_positive_rate', 'value': false_positive_rate, 'ci_low': false_positive_rate_low,
                'ci_high': false_positive_rate_high, 'n': n_negative},
            {'metric': 'f1', 'value': f1, 'ci_low': f1_low, 'ci_high': f1_high, 'n': n_questions}
        ], recursive := true)
    from population_scores
),
population as (
    select
        * exclude (n_questions, value, ci_low, ci_high),
        if(ci_high - ci_low > $scoring_max_interval::double, null, value) as value,
        if(ci_high - ci_low > $scoring_max_interval::double, null, ci_low) as ci_low,
        if(ci_high - ci_low > $scoring_max_interval::double, null, ci_high) as ci_high
    from population_figures
),
covered as (
    select
        explanation_id,
        scorer,
        role,
        'population' as weighting,
        'coverage' as metric,
        unnest([
            {'stratum': 'activating', 'value': share_activating, 'n': n_activating::bigint},
            {'stratum': 'silent', 'value': share_silent, 'n': n_silent::bigint}
        ], recursive := true)
    from population_scores
),
exact as (
    select
        explanation_id,
        scorer,
        role,
        'all' as stratum,
        'population' as weighting,
        unnest([
            {'metric': 'balanced_accuracy', 'value': balanced_accuracy, 'ci_low': balanced_accuracy_low,
                'ci_high': balanced_accuracy_high, 'n': n_scored},
            {'metric': 'precision', 'value': precision, 'ci_low': precision_low, 'ci_high': precision_high,
                'n': n_predicted},
            {'metric': 'recall', 'value': recall, 'ci_low': recall_low, 'ci_high': recall_high, 'n': n_positive},
            {'metric': 'false_positive_rate', 'value': false_positive_rate, 'ci_low': false_positive_rate_low,
                'ci_high': false_positive_rate_high, 'n': n_negative},
            {'metric': 'f1', 'value': f1, 'ci_low': f1_low, 'ci_high': f1_high, 'n': n_scored}
        ], recursive := true)
    from rule_exact
),
all_details as (
    select * from sample
    union all by name
    select * from strata
    union all by name
    select * from ranked
    union all by name
    select * from population
    union all by name
    select * from covered
    union all by name
    select * from exact
)
select
    d.explanation_id,
    e.sae,
    e.feature,
    e.explainer,
    d.scorer,
    d.role,
    d.metric,
    d.stratum,
    d.weighting,
    d.value,
    d.ci_low,
    d.ci_high,
    d.n
from all_details as d
join explanations as e using (explanation_id)
order by e.sae, e.feature, d.explanation_id, d.scorer, d.role, d.weighting, d.metric, d.stratum
