-- One row per row of scores, with its main metric: balanced accuracy; AUROC where the scorer ranks or grades
-- windows and answers neither yes nor no; accuracy where it chooses among several; correlation where it predicts
-- activations.
-- chance: the metric's value by guessing. all_wrong, all_right: its value if every failure were a wrong or a right
-- answer.
-- value_or_chance: value, or chance where it is null because of the explanation: of enough graded windows, none
-- was found to fit it, or none not to. Means and comparisons are of these: without such features, an explainer
-- would gain by explanations that fit nothing.
with named as (
    select
        *,
        list_contains($scoring_grade_scorers::text[], scorer) as is_graded,
        case
            when is_graded then 'auroc'
            when bool_or(chance is not null) over by_scorer then 'accuracy'
            when bool_or(balanced_accuracy is not null) over by_scorer then 'balanced_accuracy'
            when bool_or(auroc is not null) over by_scorer then 'auroc'
            when bool_or(correlation is not null) over by_scorer then 'correlation'
            else 'balanced_accuracy'
        end as metric
    from scores
    window by_scorer as (partition by sae, scorer)
),
measured as (
    select
        * exclude (chance),
        unnest(
            case metric
                when 'accuracy'
                then {'value': accuracy, 'low': accuracy_low, 'high': accuracy_high, 'chance': chance}
                when 'auroc' then {'value': auroc, 'low': auroc_low, 'high': auroc_high, 'chance': 0.5::double}
                when 'correlation'
                then {'value': correlation, 'low': correlation_low, 'high': correlation_high, 'chance': 0::double}
                else {'value': balanced_accuracy, 'low': ci_low, 'high': ci_high, 'chance': 0.5::double}
            end
        ),
        if(metric = 'accuracy', accuracy_all_wrong, balanced_accuracy_all_wrong) as all_wrong,
        if(metric = 'accuracy', accuracy_all_right, balanced_accuracy_all_right) as all_right
    from named
)
select
    * exclude (is_graded),
    if(value is null and is_graded and coverage >= $scoring_min_coverage::double, chance, value) as value_or_chance
from measured
