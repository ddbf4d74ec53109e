-- One row per scorer and two explainers of the config, the later one against the earlier one, whose explanations
-- of the same features of SAE $sae have scores; of three features or more, as fewer say nothing of a difference.
-- Of a scorer the $n pairs that say most: intervals without 0 first, then the larger difference. n_pairs: all.
select
    scorer,
    explainer_a,
    explainer_b,
    n_features,
    difference,
    ci_low,
    ci_high,
    share_better,
    n_tokens_a,
    n_tokens_b,
    count(*) over (partition by scorer) as n_pairs
from explainer_comparisons
where
    sae = $sae
    and ci_low is not null
    and list_position($explaining_explainers::varchar[], explainer_a)
    > list_position($explaining_explainers::varchar[], explainer_b)
qualify
    row_number() over (
        partition by scorer
        order by ci_low <= 0 and ci_high >= 0, abs(difference) desc, explainer_a, explainer_b
    ) <= $n::int
order by scorer, explainer_a, explainer_b
