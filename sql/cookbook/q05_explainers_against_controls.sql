-- One row per SAE, scorer, route and explainer: do explanations score above an empty one, and above another
-- feature's?
select
    sae,
    scorer,
    route,
    explainer,
    explainer in ('empty', 'other_feature') as is_control,
    n_features,
    round(mean, 2) as mean,
    round(ci_low, 2) as low,
    round(ci_high, 2) as high,
    round(coverage, 2) as coverage
from summary
order by sae, scorer, route, is_control, mean desc
