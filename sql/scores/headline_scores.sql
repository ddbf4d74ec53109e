-- One row per row of scores, with the figure by which it is read first: balanced accuracy; AUROC where the scorer
-- ranks windows and says neither yes nor no; correlation where it predicts activations.
select
    *,
    case
        when bool_or(balanced_accuracy is not null) over by_scorer then 'balanced_accuracy'
        when bool_or(auroc is not null) over by_scorer then 'auroc'
        when bool_or(correlation is not null) over by_scorer then 'correlation'
        else 'balanced_accuracy'
    end as metric,
    case metric when 'auroc' then auroc when 'correlation' then correlation else balanced_accuracy end as value,
    case metric when 'auroc' then auroc_low when 'correlation' then correlation_low else ci_low end as low,
    case metric when 'auroc' then auroc_high when 'correlation' then correlation_high else ci_high end as high
from scores
window by_scorer as (partition by sae, scorer)
