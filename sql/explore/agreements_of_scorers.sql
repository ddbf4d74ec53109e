-- One row per pair of scorers of SAE $sae that judged the same explanations: how their scores correlate.
select scorer, other_scorer, n_explanations, n_features, pearson, pearson_low, pearson_high, spearman
from scorer_agreements
where sae = $sae
order by n_features desc, scorer, other_scorer
