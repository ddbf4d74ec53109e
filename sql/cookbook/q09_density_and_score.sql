-- One row per power of ten of the density: are rare features explained better than frequent ones?
select
    floor(log10(feature_stats.density)) as log10_of_density,
    scores.scorer,
    count(distinct row(scores.sae, scores.feature)) as n_features,
    round(avg(coalesce(scores.balanced_accuracy, scores.auroc)), 2) as mean_score
from scores
join feature_stats using (sae, feature)
where scores.role = 'test' and scores.explainer not in ('empty', 'other_feature')
group by log10_of_density, scores.scorer
order by scores.scorer, log10_of_density
