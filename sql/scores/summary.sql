-- One row per SAE, route, explainer and scorer: the scores on test documents of the route's features, by balanced
-- accuracy; by AUROC for a scorer that says neither yes nor no.
-- A feature with several draws counts once, by their mean. The mean's interval is over features, by Student's t;
-- null under 3 features. The table student_quantiles holds t by the number of features.
-- Coverage is answered questions of all. Cost and tokens are of the distinct requests that these explanations and
-- answers name, so an explanation's own request is in the row of every scorer; an unknown price adds nothing.
with asked as (
    select s.*, r.route
    from headline_scores as s
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
        metric,
        feature,
        sum(value::decimal(38, 15))::double / count(value) as value,
        sum(balanced_accuracy_all_wrong::decimal(38, 15))::double / count(balanced_accuracy_all_wrong)
            as all_wrong,
        sum(balanced_accuracy_all_right::decimal(38, 15))::double / count(balanced_accuracy_all_right)
            as all_right,
        sum(n_scored) as n_scored,
        sum(n_scored + n_unscored) as n_asked
    from asked
    group by sae, route, explainer, scorer, metric, feature
),
averaged as (
    select
        sae,
        route,
        explainer,
        scorer,
        metric,
        count(value) as n_features,
        sum(value::decimal(38, 15))::double / count(value) as mean,
        quantile_cont(value, 0.1) as p10,
        quantile_cont(value, 0.5) as p50,
        quantile_cont(value, 0.9) as p90,
        sum(n_scored)::double / sum(n_asked)::double as coverage,
        sum(all_wrong::decimal(38, 15))::double / count(all_wrong) as mean_all_wrong,
        sum(all_right::decimal(38, 15))::double / count(all_right) as mean_all_right
    from by_feature
    group by sae, route, explainer, scorer, metric
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
    a.metric,
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
left join student_quantiles using (n_features)
left join costs as c using (sae, route, explainer, scorer)
left join answer_correlations as k using (sae, scorer)
order by sae, route, explainer, scorer
