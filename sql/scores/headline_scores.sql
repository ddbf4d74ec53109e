-- One row per row of scores, with the figure by which it is read first: balanced accuracy; AUROC where the scorer
-- ranks windows and says neither yes nor no; accuracy where it chooses among several; correlation where it
-- predicts activations. chance is its value by guessing; all_wrong and all_right, what it is if every failure
-- were a wrong or a right answer.
select
    * exclude (chance),
    case
        when bool_or(chance is not null) over by_scorer then 'accuracy'
        when bool_or(balanced_accuracy is not null) over by_scorer then 'balanced_accuracy'
        when bool_or(auroc is not null) over by_scorer then 'auroc'
        when bool_or(correlation is not null) over by_scorer then 'correlation'
        else 'balanced_accuracy'
    end as metric,
    case metric
        when 'accuracy' then accuracy when 'auroc' then auroc when 'correlation' then correlation
        else balanced_accuracy
    end as value,
    case metric
        when 'accuracy' then accuracy_low when 'auroc' then auroc_low when 'correlation' then correlation_low
        else ci_low
    end as low,
    case metric
        when 'accuracy' then accuracy_high when 'auroc' then auroc_high when 'correlation' then correlation_high
        else ci_high
    end as high,
    case metric when 'accuracy' then chance when 'correlation' then 0 else 0.5 end as chance,
    if(metric = 'accuracy', accuracy_all_wrong, balanced_accuracy_all_wrong) as all_wrong,
    if(metric = 'accuracy', accuracy_all_right, balanced_accuracy_all_right) as all_right
from scores
window by_scorer as (partition by sae, scorer)
