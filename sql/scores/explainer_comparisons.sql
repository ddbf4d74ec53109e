-- One row per SAE, scorer and pair of explainers, in both orders: the mean difference of their scores on test
-- documents, A less B, over the features that both explained. Of an explainer's draws for a feature, the chosen
-- one counts. Graded windows of which none fits an explanation, or all do, count as chance (value_or_chance).
-- The interval is over features, by Student's t; null under 3 features. The table student_quantiles holds t by the
-- number of features. The variance of a difference is taken to be at least that of the less certain of the two
-- scores. Their sum would be too much, because both explanations are asked about the same windows. In simulations
-- of 3 to 30 features the interval covers at least 95 %; without this, 93 %.
-- Tokens and cost are those of all requests for the explanations of these features, including other draws, answers
-- that could not be used and the questions that judged drafts. An unknown price makes the sum null.
with scored as (
    select
        headline_scores.sae,
        headline_scores.feature,
        headline_scores.scorer,
        headline_scores.metric,
        headline_scores.explainer,
        headline_scores.value_or_chance as value,
        interval_variance(headline_scores.low, headline_scores.high, $scoring_z::double) as own_variance
    from headline_scores
    join explanations using (explanation_id)
    where headline_scores.value_or_chance is not null and explanations.is_chosen
),
pairs as (
    select
        scored.sae,
        scored.scorer,
        scored.metric,
        scored.explainer as explainer_a,
        others.explainer as explainer_b,
        scored.feature,
        scored.value as value_a,
        others.value as value_b,
        scored.value - others.value as difference,
        greatest(scored.own_variance, others.own_variance) as own_variance
    from scored
    join scored as others
        on others.sae = scored.sae
        and others.scorer = scored.scorer
        and others.feature = scored.feature
        and others.explainer <> scored.explainer
),
averaged as (
    select
        sae,
        scorer,
        any_value(metric) as metric,
        explainer_a,
        explainer_b,
        count(*) as n_features,
        exact_mean(value_a) as mean_a,
        exact_mean(value_b) as mean_b,
        exact_mean(difference) as difference,
        error_of_mean(difference, own_variance) as error,
        -- A difference of correlations lies between -2 and 2, one of shares between -1 and 1.
        if(any_value(metric) = 'correlation', 2, 1) as most,
        count(*) filter (difference > 0) / count(*) as share_better,
        count(*) filter (difference = 0) / count(*) as share_equal
    from pairs
    group by sae, scorer, explainer_a, explainer_b
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
    group by pairs.sae, pairs.scorer, pairs.explainer_a, pairs.explainer_b
)
select
    averaged.sae,
    averaged.scorer,
    averaged.explainer_a,
    averaged.explainer_b,
    averaged.metric,
    averaged.n_features,
    averaged.mean_a,
    averaged.mean_b,
    averaged.difference,
    clamp(averaged.difference - t * error, -most, most) as ci_low,
    clamp(averaged.difference + t * error, -most, most) as ci_high,
    averaged.share_better,
    averaged.share_equal,
    costs.cost_usd_a,
    costs.cost_usd_b,
    costs.n_tokens_a,
    costs.n_tokens_b
from averaged
join costs using (sae, scorer, explainer_a, explainer_b)
left join student_quantiles using (n_features)
order by averaged.sae, averaged.scorer, averaged.explainer_a, averaged.explainer_b
