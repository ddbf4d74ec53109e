-- One row per SAE and pair of scorers that judged the same explanations: how their main metrics correlate.
-- Controls are left out. A scorer that judges features instead of explanations (all its rows belong to `empty`) is
-- paired with each explanation of its feature. Noise in either score lowers a correlation.
-- Pearson r has Fisher's interval, of variance 1 / (n - 3); Spearman is Pearson of ranks, ties at their mean, with
-- variance (1 + r^2 / 2) / (n - 3) (Bonett and Wright 2000). n is the number of features, since explanations of
-- one feature are not independent; null under 4.
with judged as (
    select
        sae,
        feature,
        explanation_id,
        explainer,
        scorer,
        value,
        bool_and(explainer = 'empty') over (partition by sae, scorer) as is_of_features
    from headline_scores
    where value is not null
),
own as (
    select *
    from judged
    where is_of_features or list_contains($explaining_explainers::varchar[], explainer)
),
paired as (
    select
        own.sae,
        own.scorer,
        others.scorer as other_scorer,
        own.feature,
        own.value as x,
        others.value as y
    from own
    join own as others
        on others.sae = own.sae
        and others.feature = own.feature
        and others.scorer > own.scorer
        and (others.explanation_id = own.explanation_id or others.is_of_features or own.is_of_features)
),
ranked as (
    select
        *,
        rank() over (partition by sae, scorer, other_scorer order by x)
        + (count(*) over (partition by sae, scorer, other_scorer, x) - 1) / 2 as x_rank,
        rank() over (partition by sae, scorer, other_scorer order by y)
        + (count(*) over (partition by sae, scorer, other_scorer, y) - 1) / 2 as y_rank
    from paired
),
by_method as (
    select sae, scorer, other_scorer, feature, 'pearson' as method, x, y from ranked
    union all
    select sae, scorer, other_scorer, feature, 'spearman', x_rank, y_rank from ranked
),
summed as (
    -- square_x, square_y and product: n times the sums of squares and products about the means.
    select
        sae,
        scorer,
        other_scorer,
        method,
        count(*) as n,
        count(distinct feature) as n_features,
        exact_sum(x) as sum_x,
        exact_sum(y) as sum_y,
        n * exact_sum(x * x) - sum_x * sum_x as square_x,
        n * exact_sum(y * y) - sum_y * sum_y as square_y,
        n * exact_sum(x * y) - sum_x * sum_y as product
    from by_method
    group by sae, scorer, other_scorer, method
),
correlated as (
    select
        *,
        if(
            square_x > 1e-9 and square_y > 1e-9,
            clamp(product / sqrt(square_x * square_y), -1, 1),
            null
        ) as r,
        if(
            n_features > 3,
            $scoring_z::double * sqrt(if(method = 'spearman', 1 + r * r / 2, 1) / (n_features - 3)),
            null
        ) as half
    from summed
)
select
    sae,
    scorer,
    other_scorer,
    any_value(n) as n_explanations,
    any_value(n_features) as n_features,
    max(r) filter (method = 'pearson') as pearson,
    max(fisher_low(r, half)) filter (method = 'pearson') as pearson_low,
    max(fisher_high(r, half)) filter (method = 'pearson') as pearson_high,
    max(r) filter (method = 'spearman') as spearman,
    max(fisher_low(r, half)) filter (method = 'spearman') as spearman_low,
    max(fisher_high(r, half)) filter (method = 'spearman') as spearman_high
from correlated
group by sae, scorer, other_scorer
order by sae, scorer, other_scorer
