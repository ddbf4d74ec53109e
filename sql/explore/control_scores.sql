-- One row per control and scorer of SAE $sae: the mean score over the features of route $route for which it was
-- drawn, which an explanation of another feature of the route has to beat.
select scorer, explainer, metric, n_features, mean
from summary
where
    sae = $sae
    and route = $route
    and mean is not null
    and not list_contains($explaining_explainers::varchar[], explainer)
order by scorer, explainer
