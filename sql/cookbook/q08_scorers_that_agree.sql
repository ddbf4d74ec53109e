-- One row per pair of scorers: do scorers rank the same explanations alike? Controls are left out.
select
    sae,
    scorer,
    other_scorer,
    n_explanations,
    round(pearson, 2) as pearson,
    round(pearson_low, 2) as low,
    round(pearson_high, 2) as high,
    round(spearman, 2) as spearman
from scorer_agreements
order by sae, scorer, other_scorer
