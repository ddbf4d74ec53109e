-- One row per explanation and scorer: how well the explanation predicts when its feature fires.
-- Figures are for the questions as drawn (rule_exact: for every test token); those for the population are in
-- score_details. ci_low and ci_high are for balanced accuracy. A figure that cannot be computed is null, with a
-- reason.
with all_scores as (
    select * from sample_scores
    union all by name
    select *, balanced_accuracy as balanced_accuracy_all_wrong, balanced_accuracy as balanced_accuracy_all_right
    from rule_exact
    union all by name
    select * exclude (stratum) from simulation_scores where stratum = 'all'
    union all by name
    select * exclude (weighting) from graded_scores where weighting = 'sample'
)
select
    all_scores.explanation_id,
    all_scores.sae,
    all_scores.feature,
    all_scores.explainer,
    scorer,
    'test' as role,
    balanced_accuracy,
    balanced_accuracy_low as ci_low,
    balanced_accuracy_high as ci_high,
    precision,
    recall,
    f1,
    auroc,
    auroc_low,
    auroc_high,
    average_precision,
    auroc_coverage,
    correlation,
    correlation_low,
    correlation_high,
    accuracy,
    accuracy_low,
    accuracy_high,
    chance,
    n_scored,
    n_unscored,
    coverage,
    reason,
    balanced_accuracy_all_wrong,
    balanced_accuracy_all_right,
    accuracy_all_wrong,
    accuracy_all_right,
    explanations.place,
    explanations.generation
from all_scores
left join explanations using (explanation_id)
order by all_scores.sae, all_scores.feature, all_scores.explanation_id, scorer
