-- One row per SAE, route, explainer and scorer: the scores on test documents of the route's features, by the
-- scorer's main metric (headline_scores): balanced accuracy; AUROC for a scorer that answers neither yes nor no;
-- accuracy for one that chooses among several; correlation for one that predicts activations.
-- A feature with several draws counts once, by their mean. The mean's interval is over features, by Student's t;
-- null under 3 features. The table student_quantiles holds t by the number of features. Graded windows of which
-- none fits an explanation, or all do, count as chance (value_or_chance).
-- Coverage is the share of all questions that was answered. Cost and tokens are those of the distinct requests
-- that these explanations and answers name, including draws whose answers could not be used, so an explanation's
-- own request counts in the row of every scorer. An unknown price makes the sum null.
-- Where an explainer chooses among its draws, the scores are those of its choice, and the search's cost is given
-- separately, beside what it gained on the train windows that chose: the best of several is flattered there.
-- A feature that an explainer failed to explain has no score: n_asked_features and explained_share show how many
-- it had to explain, n_unscored_features how many a scorer judged without a score, as too few answers came.
-- mean_failed_at_chance is the mean if both count as explanations that score at chance. An explainer has a row for
-- every scorer of explanations even if it failed on all features.
with scorers as (
    -- Excludes rule_exact (rules only) and scorers that judge features, which only have rows for the empty
    -- explanation.
    select sae, scorer, any_value(metric) as metric, min(chance) as chance
    from headline_scores
    where explainer not in ('empty', 'other_feature') and scorer <> 'rule_exact'
    group by sae, scorer
),
failed as (
    select explanations.*, scorers.scorer, scorers.metric, scorers.chance
    from explanations
    join scorers using (sae)
    where explanations.is_chosen and explanations.status not in ('ok', 'not_asked')
),
asked as (
    select headline_scores.*, feature_routes.route
    from headline_scores
    anti join (select explanation_id from explanations where not is_chosen) as other_draws using (explanation_id)
    join feature_routes using (sae, feature)
    union all by name
    select
        failed.explanation_id,
        failed.sae,
        failed.feature,
        failed.explainer,
        failed.scorer,
        failed.metric,
        failed.chance,
        0 as n_scored,
        0 as n_unscored,
        feature_routes.route
    from failed
    join feature_routes using (sae, feature)
),
explained as (
    select
        explanations.sae,
        feature_routes.route,
        explanations.explainer,
        count(distinct explanations.feature) as n_asked_features,
        count(distinct explanations.feature) filter (explanations.status = 'ok') as n_explained_features,
        count(distinct explanations.feature) filter (
            explanations.is_chosen and explanations.status = 'echoed'
        ) as n_echoed_features
    from explanations
    join feature_routes using (sae, feature)
    where explanations.status <> 'not_asked'
    group by explanations.sae, feature_routes.route, explanations.explainer
),
searches as (
    select
        sae,
        explainer,
        feature,
        any_value(draw) filter (is_chosen) as chosen_draw,
        any_value(train_score) filter (is_chosen) as chosen_score,
        any_value(train_score) filter (draw = 0) as first_score
    from explanations
    group by sae, explainer, feature
    having (count(*) > 1 or max(len(judge_request_ids)) > 0) and bool_or(is_chosen and status = 'ok')
),
searched as (
    select
        searches.sae,
        feature_routes.route,
        searches.explainer,
        count(*) as n_searched_features,
        exact_mean(if(chosen_draw = 0, 0, chosen_score - first_score)) as search_gain
    from searches
    join feature_routes using (sae, feature)
    group by searches.sae, feature_routes.route, searches.explainer
),
by_feature as (
    select
        sae,
        route,
        explainer,
        scorer,
        metric,
        feature,
        exact_mean(value_or_chance) as value,
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
        count(*) filter (value is null and n_asked > 0) as n_unscored_features,
        n_features / nullif(n_features + n_unscored_features, 0) as scored_share,
        exact_mean(value) as mean,
        error_of_mean(value, own_variance) as error,
        quantile_cont(value, 0.1) as p10,
        quantile_cont(value, 0.5) as p50,
        quantile_cont(value, 0.9) as p90,
        sum(n_scored)::double / nullif(sum(n_asked), 0)::double as coverage,
        exact_mean(all_wrong) as mean_all_wrong,
        exact_mean(all_right) as mean_all_right
    from by_feature
    group by sae, route, explainer, scorer, metric
),
named_requests as (
    select asked.sae, asked.route, asked.explainer, asked.scorer, current_requests.request_id, false as is_search
    from asked
    join predictions using (explanation_id, scorer)
    join llm_requests on llm_requests.request_id = predictions.request_id
    join current_requests on current_requests.first_id = coalesce(llm_requests.repeats, llm_requests.request_id)
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
        complete_sum(current_requests.cost_usd) as cost_usd,
        coalesce(sum(current_requests.prompt_tokens), 0)::bigint as prompt_tokens,
        coalesce(sum(current_requests.cached_tokens), 0)::bigint as cached_tokens,
        coalesce(sum(current_requests.completion_tokens), 0)::bigint as completion_tokens,
        complete_sum(if(is_search, current_requests.cost_usd, 0)) as search_cost_usd,
        coalesce(
            sum(current_requests.prompt_tokens + current_requests.completion_tokens) filter (is_search), 0
        )::bigint as search_tokens
    from named_requests
    join current_requests using (request_id)
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
    if(costs.prompt_tokens is null, 0, costs.cost_usd) as cost_usd,
    coalesce(costs.prompt_tokens, 0) as prompt_tokens,
    coalesce(costs.cached_tokens, 0) as cached_tokens,
    coalesce(costs.completion_tokens, 0) as completion_tokens,
    if(costs.prompt_tokens is null, 0, costs.search_cost_usd) as search_cost_usd,
    coalesce(costs.search_tokens, 0) as search_tokens,
    coalesce(searched.n_searched_features, 0) as n_searched_features,
    searched.search_gain,
    coalesce(explained.n_asked_features, 0) as n_asked_features,
    coalesce(explained.n_echoed_features, 0) as n_echoed_features,
    averaged.n_unscored_features,
    explained.n_explained_features / explained.n_asked_features as explained_share,
    if(
        explained_share = 0 or averaged.scored_share = 0,
        averaged.chance,
        averaged.chance + (averaged.mean - averaged.chance) * averaged.scored_share * explained_share
    ) as mean_failed_at_chance
from averaged
left join explained using (sae, route, explainer)
left join searched using (sae, route, explainer)
left join student_quantiles using (n_features)
left join costs using (sae, route, explainer, scorer)
left join answer_correlations using (sae, scorer)
order by sae, route, explainer, scorer
