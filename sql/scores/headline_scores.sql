-- One row per row of scores, with the figure by which it is read first: balanced accuracy, or AUROC where the
-- scorer ranks windows and says neither yes nor no.
select
    *,
    if(
        bool_or(balanced_accuracy is not null) over by_scorer or not bool_or(auroc is not null) over by_scorer,
        'balanced_accuracy', 'auroc'
    ) as metric,
    if(metric = 'auroc', auroc, balanced_accuracy) as value,
    if(metric = 'auroc', auroc_low, ci_low) as low,
    if(metric = 'auroc', auroc_high, ci_high) as high
from scores
window by_scorer as (partition by sae, scorer)
