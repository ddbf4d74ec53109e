-- One row per SAE, route, explainer and scorer: the scores on test documents of the route's features.
-- A feature with several draws counts once, by their mean. The mean's interval is over features, by Student's t;
-- null under 3 features. Its quantile is Hill's expansion (1970, algorithm 396), exact for 2 degrees of freedom.
-- Coverage is answered questions of all. Cost and tokens are of the distinct requests that these explanations and
-- answers name, so an explanation's own request is in the row of every scorer; an unknown price adds nothing.
with asked as (
    select s.*, r.route
    from scores as s
    join feature_routes as r using (sae, feature)
    where s.role = 'test'
),
by_feature as (
    -- Sums of decimals do not depend on the order of the threads.
    select
        sae,
        route,
        explainer,
        scorer,
        feature,
        sum(balanced_accuracy::decimal(38, 15))::double / count(balanced_accuracy) as value,
        sum(balanced_accuracy_all_wrong::decimal(38, 15))::double / count(balanced_accuracy_all_wrong)
            as all_wrong,
        sum(balanced_accuracy_all_right::decimal(38, 15))::double / count(balanced_accuracy_all_right)
            as all_right,
        sum(n_scored) as n_scored,
        sum(n_scored + n_unscored) as n_asked
    from asked
    group by sae, route, explainer, scorer, feature
),
averaged as (
    select
        sae,
        route,
        explainer,
        scorer,
        count(value) as n_features,
        sum(value::decimal(38, 15))::double / count(value) as mean,
        quantile_cont(value, 0.1) as p10,
        quantile_cont(value, 0.5) as p50,
        quantile_cont(value, 0.9) as p90,
        sum(n_scored)::double / sum(n_asked)::double as coverage,
        sum(all_wrong::decimal(38, 15))::double / count(all_wrong) as mean_all_wrong,
        sum(all_right::decimal(38, 15))::double / count(all_right) as mean_all_right
    from by_feature
    group by sae, route, explainer, scorer
),
spread as (
    select
        sae,
        route,
        explainer,
        scorer,
        sqrt(
            sum(power(f.value - a.mean, 2)::decimal(38, 15))::double
            / (any_value(a.n_features) - 1) / any_value(a.n_features)
        ) as error
    from by_feature as f
    join averaged as a using (sae, route, explainer, scorer)
    group by sae, route, explainer, scorer
),
freedoms as (
    select
        n_features - 1e0 as v,
        2 * tail as p,
        -z as x,
        1 / (v - 0.5) as a,
        48 / (a * a) as b,
        ((20700 * a / b - 98) * a - 16) * a + 96.36 as c,
        ((94.5 / (b + c) - 3) / b + 1) * sqrt(a * pi() / 2) * v as d,
        power(d * p, 2 / v) as y
    from (select distinct n_features from averaged where n_features >= 3)
    cross join normal_quantile
),
expansions as (
    select
        *,
        (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b + c + if(v < 5, 0.3 * (v - 4.5) * (x + 0.6), 0) as e,
        (((((0.4 * x * x + 6.3) * x * x + 36) * x * x + 94.5) / e - x * x - 3) / b + 1) * x as g
    from freedoms
),
quantiles as (
    select
        v::bigint + 1 as n_features,
        case
            when v = 2 then sqrt(2 / (p * (2 - p)) - 2)
            when y > 0.05 + a then sqrt(v * (exp(a * g * g) - 1))
            else sqrt(v * (
                (
                    (1 / (((v + 6) / (v * y) - 0.089 * d - 0.822) * (v + 2) * 3) + 0.5 / (v + 4)) * y - 1
                ) * (v + 1) / (v + 2) + 1 / y
            ))
        end as t
    from expansions
),
named_requests as (
    select s.sae, s.route, s.explainer, s.scorer, p.request_id
    from asked as s
    join predictions as p
        on p.explanation_id = s.explanation_id and p.scorer = s.scorer and p.role = s.role
    union
    select s.sae, s.route, s.explainer, s.scorer, e.request_id
    from asked as s
    join explanations as e using (explanation_id)
),
costs as (
    select
        n.sae,
        n.route,
        n.explainer,
        n.scorer,
        coalesce(sum(r.cost_usd::decimal(38, 15))::double, 0) as cost_usd,
        coalesce(sum(r.prompt_tokens), 0)::bigint as prompt_tokens,
        coalesce(sum(r.cached_tokens), 0)::bigint as cached_tokens,
        coalesce(sum(r.completion_tokens), 0)::bigint as completion_tokens
    from named_requests as n
    join (
        select request_id, any_value(cost_usd) as cost_usd, any_value(prompt_tokens) as prompt_tokens,
            any_value(cached_tokens) as cached_tokens, any_value(completion_tokens) as completion_tokens
        from llm_requests
        group by request_id
    ) as r using (request_id)
    group by n.sae, n.route, n.explainer, n.scorer
)
select
    a.sae,
    a.route,
    a.explainer,
    a.scorer,
    a.n_features,
    a.mean,
    if(a.mean < t * error, 0, a.mean - t * error) as ci_low,
    if(a.mean + t * error > 1, 1, a.mean + t * error) as ci_high,
    a.p10,
    a.p50,
    a.p90,
    a.coverage,
    a.mean_all_wrong,
    a.mean_all_right,
    k.rho as rho_found,
    coalesce(c.cost_usd, 0) as cost_usd,
    coalesce(c.prompt_tokens, 0) as prompt_tokens,
    coalesce(c.cached_tokens, 0) as cached_tokens,
    coalesce(c.completion_tokens, 0) as completion_tokens
from averaged as a
left join spread using (sae, route, explainer, scorer)
left join quantiles using (n_features)
left join costs as c using (sae, route, explainer, scorer)
left join answer_correlations as k using (sae, scorer)
order by sae, route, explainer, scorer
