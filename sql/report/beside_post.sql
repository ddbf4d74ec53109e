-- One row per SAE (null: over all requests) and quantity that the post publishes: its value in this experiment.
-- Scores are means over features with Student's interval (null under 3 features), over all explanations except
-- controls and draws that were not chosen. The correlation is Pearson's with Fisher's interval over features (null
-- under 10). Shares and token counts are exact and have no interval.
-- The post's own figures are in pipeline/show/published/post.yaml.
with judged as (
    select
        sae,
        feature,
        explanation_id,
        scorer,
        value,
        interval_variance(low, high, $scoring_z::double) as own_variance
    from headline_scores
    anti join other_draws using (explanation_id)
    where
        value is not null
        and list_contains($explaining_explainers::varchar[], explainer)
),
by_feature as (
    select sae, scorer, feature, avg(value) as value, avg(own_variance) as own_variance
    from judged
    where scorer in ('detection', 'neighbours')
    group by sae, scorer, feature
),
averaged as (
    select
        sae,
        scorer,
        count(*) as n_features,
        avg(value) as mean,
        error_of_mean(value, own_variance) as error
    from by_feature
    group by sae, scorer
),
scores_of_both as (
    select
        sae,
        any_value(feature) as feature,
        (max(value) filter (scorer = 'detection') + max(value) filter (scorer = 'fuzzing')) / 2 as mean_of_both,
        max(value) filter (scorer = 'simulation') as simulated
    from judged
    group by sae, explanation_id
),
correlated as (
    -- Where one of the two does not vary, the quotient is NaN and there is no correlation.
    select
        sae,
        count(distinct feature) as n_features,
        nullif(corr(mean_of_both, simulated), 'nan'::double) as r
    from scores_of_both
    where mean_of_both is not null and simulated is not null
    group by sae
),
asked as (
    select
        case
            when purpose = 'explain' then 'explanation'
            when purpose in ('detection', 'fuzzing') then 'question'
            when purpose = 'simulation' then 'simulation'
        end as what,
        if(what = 'simulation', max(n_features), sum(n_requests)) as n,
        sum(prompt_tokens) / n as prompt_tokens,
        sum(completion_tokens) / n as answer_tokens
    from method_costs
    where what is not null and prompt_tokens is not null
    group by what
),
spread as (
    select *, if(n_features < 10 or abs(r) > 0.999999, null, $scoring_z::double / sqrt(n_features - 3)) as half
    from correlated
),
bounded as (
    select
        averaged.sae,
        averaged.scorer as quantity,
        averaged.mean as value,
        averaged.mean - student_quantiles.t * averaged.error as low,
        averaged.mean + student_quantiles.t * averaged.error as high,
        averaged.n_features as n
    from averaged
    left join student_quantiles using (n_features)
    union all
    select sae, 'agreement', r, fisher_low(r, half), fisher_high(r, half), n_features
    from spread
    union all
    select sae, 'positional', share, null, null, n_features
    from report_positional
    where measure = 'information' and threshold = 0.05
    union all
    select null, what || '_prompt_tokens', prompt_tokens, null, null, n
    from asked
    union all
    select null, what || '_answer_tokens', answer_tokens, null, null, n
    from asked
)
select
    sae,
    quantity,
    value,
    clamp(low, if(quantity = 'agreement', -1, 0), 1) as low,
    clamp(high, if(quantity = 'agreement', -1, 0), 1) as high,
    n::bigint as n
from bounded
order by quantity, sae
