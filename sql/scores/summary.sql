-- One row per SAE, route, explainer and scorer: the scores on test documents of the route's features, by balanced
-- accuracy; by AUROC for a scorer that says neither yes nor no; by accuracy for one that chooses among several, by
-- correlation for one that predicts activations.
-- A feature with several draws counts once, by their mean. The mean's interval is over features, by Student's t;
-- null under 3 features. The table student_quantiles holds t by the number of features.
-- Coverage is answered questions of all. Cost and tokens are of the distinct requests that these explanations and
-- answers name, so an explanation's own request is in the row of every scorer; an unknown price adds nothing.
-- Where an explainer chooses among its draws, scores are those of its choice, and the search's cost is told apart.
with asked as (
    select headline_scores.*, feature_routes.route
    from headline_scores
    anti join (select explanation_id from explanations where not is_chosen) as other_draws using (explanation_id)
    join feature_routes using (sae, feature)
    where headline_scores.role = 'test'
),
by_feature as (
    select
        sae,
        route,
        explainer,
        scorer,
        metric,
        feature,
        exact_mean(value) as value,
        exact_mean(chance) as chance,
        exact_mean(all_wrong) as all_wrong,
        exact_mean(all_right) as all_right,
        exact_mean(interval_variance(low, high, $scoring_z::double)) as own_variance,
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
        exact_mean(chance) as chance,
        if(metric = 'correlation', -1, 0) as least_value,
        count(value) as n_features,
        exact_mean(value) as mean,
        error_of_mean(value, own_variance) as error,
        quantile_cont(value, 0.1) as p10,
        quantile_cont(value, 0.5) as p50,
        quantile_cont(value, 0.9) as p90,
        sum(n_scored)::double / sum(n_asked)::double as coverage,
        exact_mean(all_wrong) as mean_all_wrong,
        exact_mean(all_right) as mean_all_right
    from by_feature
    group by sae, route, explainer, scorer, metric
),
named_requests as (
    select asked.sae, asked.route, asked.explainer, asked.scorer, predictions.request_id, false as is_search
    from asked
    join predictions
        on predictions.explanation_id = asked.explanation_id
        and predictions.scorer = asked.scorer
        and predictions.role = asked.role
    union
    select
        asked.sae,
        asked.route,
        asked.explainer,
        asked.scorer,
        explaining_requests.request_id,
        explaining_requests.is_search
    from asked
    join explaining_requests
        on explaining_requests.sae = asked.sae
        and explaining_requests.feature = asked.feature
        and explaining_requests.explainer = asked.explainer
),
costs as (
    select
        named_requests.sae,
        named_requests.route,
        named_requests.explainer,
        named_requests.scorer,
        coalesce(exact_sum(requests.cost_usd), 0) as cost_usd,
        coalesce(sum(requests.prompt_tokens), 0)::bigint as prompt_tokens,
        coalesce(sum(requests.cached_tokens), 0)::bigint as cached_tokens,
        coalesce(sum(requests.completion_tokens), 0)::bigint as completion_tokens,
        coalesce(exact_sum(if(is_search, requests.cost_usd, null)), 0) as search_cost_usd,
        coalesce(sum(requests.prompt_tokens + requests.completion_tokens) filter (is_search), 0)::bigint
            as search_tokens
    from named_requests
    join (
        select
            request_id, any_value(cost_usd) as cost_usd, any_value(prompt_tokens) as prompt_tokens,
            any_value(cached_tokens) as cached_tokens, any_value(completion_tokens) as completion_tokens
        from llm_requests
        group by request_id
    ) as requests using (request_id)
    group by named_requests.sae, named_requests.route, named_requests.explainer, named_requests.scorer
)
select
    averaged.sae,
    averaged.route,
    averaged.explainer,
    averaged.scorer,
    averaged.metric,
    averaged.chance,
    averaged.n_features,
    averaged.mean,
    clamp(averaged.mean - t * error, least_value, 1) as ci_low,
    clamp(averaged.mean + t * error, least_value, 1) as ci_high,
    averaged.p10,
    averaged.p50,
    averaged.p90,
    averaged.coverage,
    averaged.mean_all_wrong,
    averaged.mean_all_right,
    answer_correlations.rho as rho_found,
    coalesce(costs.cost_usd, 0) as cost_usd,
    coalesce(costs.prompt_tokens, 0) as prompt_tokens,
    coalesce(costs.cached_tokens, 0) as cached_tokens,
    coalesce(costs.completion_tokens, 0) as completion_tokens,
    coalesce(costs.search_cost_usd, 0) as search_cost_usd,
    coalesce(costs.search_tokens, 0) as search_tokens
from averaged
left join student_quantiles using (n_features)
left join costs using (sae, route, explainer, scorer)
left join answer_correlations using (sae, scorer)
order by sae, route, explainer, scorer
