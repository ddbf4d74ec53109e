-- One row per SAE, scorer and two explainers of the same features: the mean over these of the difference of their
-- scores on test documents, A less B, in both orders. Of an explainer that chooses, by its choice.
-- The interval is over features, by Student's t; null under 3 features. The table student_quantiles holds t by the
-- number of features. Tokens and cost are of all requests that the explanations of these features took, other
-- draws and the questions that judged them included; an unknown price adds nothing.
with scored as (
    select
        headline_scores.sae,
        headline_scores.feature,
        headline_scores.scorer,
        headline_scores.metric,
        headline_scores.explainer,
        headline_scores.value
    from headline_scores
    join explanations using (explanation_id)
    where headline_scores.role = 'test' and headline_scores.value is not null and explanations.is_chosen
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
        scored.value - others.value as difference
    from scored
    join scored as others
        on others.sae = scored.sae
        and others.scorer = scored.scorer
        and others.feature = scored.feature
        and others.explainer <> scored.explainer
),
averaged as (
    -- Sums of decimals do not depend on the order of the threads.
    select
        sae,
        scorer,
        any_value(metric) as metric,
        explainer_a,
        explainer_b,
        count(*) as n_features,
        sum(value_a::decimal(38, 15))::double / count(*) as mean_a,
        sum(value_b::decimal(38, 15))::double / count(*) as mean_b,
        sum(difference::decimal(38, 15))::double / count(*) as difference,
        count(*) filter (difference > 0) / count(*) as share_better,
        count(*) filter (difference = 0) / count(*) as share_equal
    from pairs
    group by sae, scorer, explainer_a, explainer_b
),
spread as (
    select
        pairs.sae,
        pairs.scorer,
        pairs.explainer_a,
        pairs.explainer_b,
        sqrt(
            sum(power(pairs.difference - averaged.difference, 2)::decimal(38, 15))::double
            / (any_value(averaged.n_features) - 1) / any_value(averaged.n_features)
        ) as error
    from pairs
    join averaged using (sae, scorer, explainer_a, explainer_b)
    group by pairs.sae, pairs.scorer, pairs.explainer_a, pairs.explainer_b
),
feature_costs as (
    select
        explaining_requests.sae,
        explaining_requests.feature,
        explaining_requests.explainer,
        sum(llm_requests.cost_usd::decimal(38, 15))::double as cost_usd,
        sum(llm_requests.prompt_tokens + llm_requests.completion_tokens) as n_tokens
    from explaining_requests
    join llm_requests using (request_id)
    group by explaining_requests.sae, explaining_requests.feature, explaining_requests.explainer
),
costs as (
    select
        pairs.sae,
        pairs.scorer,
        pairs.explainer_a,
        pairs.explainer_b,
        coalesce(sum(of_a.cost_usd::decimal(38, 15))::double, 0) as cost_usd_a,
        coalesce(sum(of_b.cost_usd::decimal(38, 15))::double, 0) as cost_usd_b,
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
    averaged.difference - t * error as ci_low,
    averaged.difference + t * error as ci_high,
    averaged.share_better,
    averaged.share_equal,
    costs.cost_usd_a,
    costs.cost_usd_b,
    costs.n_tokens_a,
    costs.n_tokens_b
from averaged
join costs using (sae, scorer, explainer_a, explainer_b)
left join spread using (sae, scorer, explainer_a, explainer_b)
left join student_quantiles using (n_features)
order by averaged.sae, averaged.scorer, averaged.explainer_a, averaged.explainer_b
