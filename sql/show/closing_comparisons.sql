-- One row per scorer, route and pair of the config's explainers, the later one against the earlier one, whose
-- explanations of the same features of SAE $sae have scores. Pairs with fewer than three features are left out, as
-- they show nothing about a difference. Each scorer has at most $n pairs, the most informative: intervals without
-- 0 first, then the larger differences. n_pairs: the number of all pairs.
select
    scorer,
    route,
    explainer_a,
    explainer_b,
    n_features,
    difference,
    ci_low,
    ci_high,
    share_better,
    n_tokens_a,
    n_tokens_b,
    n_features_failed_at_chance,
    difference_failed_at_chance,
    count(*) over (partition by scorer) as n_pairs
from explainer_comparisons
where
    sae = $sae
    and route <> 'all'
    and ci_low is not null
    and list_position($explaining_explainers::varchar[], explainer_a)
    > list_position($explaining_explainers::varchar[], explainer_b)
qualify
    row_number() over (
        partition by scorer
        order by ci_low <= 0 and ci_high >= 0, abs(difference) desc, explainer_a, explainer_b, route
    ) <= $n::int
order by scorer, explainer_a, explainer_b, route
