-- One row per control and scorer of SAE $sae: the mean score over the features for which it was drawn, which an
-- explanation has to beat.
select
    scorer,
    explainer,
    any_value(metric) as metric,
    sum(n_features)::bigint as n_features,
    sum(mean * n_features) / sum(n_features) as mean
from summary
where
    sae = $sae
    and mean is not null
    and not list_contains($explaining_explainers::varchar[], explainer)
group by scorer, explainer
order by scorer, explainer
