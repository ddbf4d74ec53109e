-- One row per SAE, scorer, route and pair of explainers, in both orders: the mean difference of their scores on
-- test documents, A less B, over the features of the route that both explained (route `all`: of every route, in
-- the proportions in which the run drew them). Of an explainer's draws for a feature, the chosen one counts.
-- Graded windows of which none fits an explanation, or all do, count as chance (value_or_chance).
-- The interval is over features, by Student's t; null under 3 features. The table student_quantiles holds t by the
-- number of features. The variance of a difference is taken to be at least that of the less certain of the two
-- scores. Their sum would be too much, because both explanations are asked about the same windows. In simulations
-- of 3 to 30 features the interval covers at least 95 %; without this, 93 %.
-- An explainer that fails on hard features gains by it. So *_failed_at_chance is over the features that both were
-- asked about and at least one explanation has a score of; one that failed, or has too few answers, counts as one
-- that scores at chance.
-- Tokens and cost are those of all requests for the explanations of the features that both explained, including
-- other draws, answers that could not be used and the questions that judged drafts. An unknown price makes the sum
-- null.
with scored as (
    -- The value is null where too few answers came.
    select
        headline_scores.sae,
        headline_scores.feature,
        headline_scores.scorer,
        headline_scores.metric,
        headline_scores.chance,
        headline_scores.explainer,
        headline_scores.value_or_chance as value,
        interval_variance(headline_scores.low, headline_scores.high, $scoring_z::double) as own_variance
    from headline_scores
    join explanations using (explanation_id)
    where
        explanations.is_chosen
        and (
            headline_scores.value_or_chance is not null
            or headline_scores.n_scored + headline_scores.n_unscored > 0
        )
),
failed as (
    -- An explanation that failed, once for every scorer of explanations that judged another one of its feature.
    select
        scored.sae,
        scored.feature,
        scored.scorer,
        any_value(scored.metric) as metric,
        any_value(scored.chance) as chance,
        explanations.explainer
    from explanations
    join scored using (sae, feature)
    semi join (
        select sae, scorer
        from scored
        where explainer not in ('empty', 'other_feature') and scorer <> 'rule_exact'
    ) as of_explanations
        on of_explanations.sae = scored.sae
        and of_explanations.scorer = scored.scorer
    where explanations.is_chosen and explanations.status not in ('ok', 'not_asked')
    group by scored.sae, scored.feature, scored.scorer, explanations.explainer
),
outcomes as (
    select * from scored
    union all by name
    select * from failed
),
pairs as (
    -- The plain difference is null unless both have a score.
    select
        outcomes.sae,
        outcomes.scorer,
        unnest([feature_routes.route, 'all']) as route,
        outcomes.metric,
        outcomes.explainer as explainer_a,
        others.explainer as explainer_b,
        outcomes.feature,
        outcomes.value is not null and others.value is not null as is_both,
        if(is_both, outcomes.value, null) as value_a,
        if(is_both, others.value, null) as value_b,
        outcomes.value - others.value as difference,
        coalesce(outcomes.value, outcomes.chance) - coalesce(others.value, others.chance) as difference_at_chance,
        greatest(outcomes.own_variance, others.own_variance) as own_variance
    from outcomes
    join outcomes as others
        on others.sae = outcomes.sae
        and others.scorer = outcomes.scorer
        and others.feature = outcomes.feature
        and others.explainer <> outcomes.explainer
    join feature_routes on feature_routes.sae = outcomes.sae and feature_routes.feature = outcomes.feature
    where outcomes.value is not null or others.value is not null
),
averaged as (
    select
        sae,
        scorer,
        route,
        any_value(metric) as metric,
        explainer_a,
        explainer_b,
        count(*) filter (is_both) as n_features,
        exact_mean(value_a) as mean_a,
        exact_mean(value_b) as mean_b,
        exact_mean(difference) as difference,
        error_of_mean(difference, if(is_both, own_variance, null)) as error,
        count(*) as n_features_failed_at_chance,
        exact_mean(difference_at_chance) as difference_failed_at_chance,
        error_of_mean(difference_at_chance, own_variance) as error_at_chance,
        -- A difference of correlations lies between -2 and 2, one of shares between -1 and 1.
        if(any_value(metric) = 'correlation', 2, 1) as most,
        count(*) filter (difference > 0) / nullif(count(*) filter (is_both), 0) as share_better,
        count(*) filter (difference = 0) / nullif(count(*) filter (is_both), 0) as share_equal
    from pairs
    group by sae, scorer, route, explainer_a, explainer_b
),
feature_costs as (
    select
        explaining_requests.sae,
        explaining_requests.feature,
        explaining_requests.explainer,
        complete_sum(current_requests.cost_usd) as cost_usd,
        sum(current_requests.prompt_tokens + current_requests.completion_tokens) as n_tokens
    from explaining_requests
    join current_requests using (request_id)
    group by explaining_requests.sae, explaining_requests.feature, explaining_requests.explainer
),
costs as (
    select
        pairs.sae,
        pairs.scorer,
        pairs.route,
        pairs.explainer_a,
        pairs.explainer_b,
        -- A feature without requests costs nothing.
        complete_sum(if(of_a.feature is null, 0, of_a.cost_usd)) as cost_usd_a,
        complete_sum(if(of_b.feature is null, 0, of_b.cost_usd)) as cost_usd_b,
        coalesce(sum(of_a.n_tokens), 0)::bigint as n_tokens_a,
        coalesce(sum(of_b.n_tokens), 0)::bigint as n_tokens_b
    from pairs
    left join feature_costs as of_a
        on of_a.sae = pairs.sae
        and of_a.feature = pairs.feature
        and of_a.explainer = pairs.explainer_a
    left join feature_costs as of_b
        on of_b.sae = pairs.sae
        and of_b.feature = pairs.feature
        and of_b.explainer = pairs.explainer_b
    where pairs.is_both
    group by pairs.sae, pairs.scorer, pairs.route, pairs.explainer_a, pairs.explainer_b
)
select
    averaged.sae,
    averaged.scorer,
    averaged.route,
    averaged.explainer_a,
    averaged.explainer_b,
    averaged.metric,
    averaged.n_features,
    averaged.mean_a,
    averaged.mean_b,
    averaged.difference,
    clamp(averaged.difference - quantiles.t * error, -most, most) as ci_low,
    clamp(averaged.difference + quantiles.t * error, -most, most) as ci_high,
    averaged.share_better,
    averaged.share_equal,
    averaged.n_features_failed_at_chance,
    averaged.difference_failed_at_chance,
    clamp(difference_failed_at_chance - of_all.t * error_at_chance, -most, most) as ci_low_failed_at_chance,
    clamp(difference_failed_at_chance + of_all.t * error_at_chance, -most, most) as ci_high_failed_at_chance,
    if(costs.scorer is null, 0, costs.cost_usd_a) as cost_usd_a,
    if(costs.scorer is null, 0, costs.cost_usd_b) as cost_usd_b,
    coalesce(costs.n_tokens_a, 0) as n_tokens_a,
    coalesce(costs.n_tokens_b, 0) as n_tokens_b
from averaged
left join costs using (sae, scorer, route, explainer_a, explainer_b)
left join student_quantiles as quantiles using (n_features)
left join student_quantiles as of_all on of_all.n_features = averaged.n_features_failed_at_chance
order by averaged.sae, averaged.scorer, averaged.explainer_a, averaged.explainer_b, averaged.route
