-- One row per scorer, explainer and power of ten of the density, with the mean over its features of the scorer's
-- main metric and Student's interval: are rare features explained better than frequent ones?
with scored as (
    select
        score_details.scorer,
        score_details.metric,
        score_details.explainer,
        floor(log10(feature_stats.density)) as log10_of_density,
        score_details.value,
        interval_variance(score_details.ci_low, score_details.ci_high, 1.96) as own_variance
    from score_details
    semi join summary using (sae, scorer, metric)
    semi join (select explanation_id from explanations where is_chosen) as chosen using (explanation_id)
    join feature_stats using (sae, feature)
    where
        score_details.stratum = 'all'
        and score_details.weighting = 'sample'
        and score_details.explainer not in ('empty', 'other_feature')
        and score_details.value is not null
),
averaged as (
    select
        scorer,
        metric,
        explainer,
        log10_of_density,
        count(*) as n_features,
        avg(value) as mean,
        student_t(1.96, count(*)) * error_of_mean(value, own_variance) as half_width
    from scored
    group by scorer, metric, explainer, log10_of_density
)
select
    scorer,
    metric,
    explainer,
    log10_of_density,
    n_features,
    round(mean, 2) as mean_score,
    round(clamp(mean - half_width, -1, 1), 2) as low,
    round(clamp(mean + half_width, -1, 1), 2) as high
from averaged
order by scorer, explainer, log10_of_density
