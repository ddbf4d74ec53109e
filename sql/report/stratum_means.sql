-- One row per SAE, scorer, explainer and stratum: the share of right answers about its windows for chosen
-- explanations, as the mean over features of all routes with Student's interval, null under 3 features.
-- Each feature counts alike, however many windows of the stratum it was asked about or it has, and within a
-- feature each window does (weighting `sample`).
with by_feature as (
    select
        sae,
        scorer,
        explainer,
        stratum,
        feature,
        exact_mean(value) as value,
        exact_mean(interval_variance(ci_low, ci_high, $scoring_z::double)) as own_variance
    from score_details
    anti join other_draws using (explanation_id)
    where metric = 'accuracy' and weighting = 'sample' and value is not null
    group by sae, scorer, explainer, stratum, feature
),
averaged as (
    select
        sae,
        scorer,
        explainer,
        stratum,
        count(*) as n_features,
        exact_mean(value) as mean,
        error_of_mean(value, own_variance) as error
    from by_feature
    group by sae, scorer, explainer, stratum
),
bounded as (
    select
        averaged.*,
        averaged.mean - student_quantiles.t * averaged.error as low,
        averaged.mean + student_quantiles.t * averaged.error as high
    from averaged
    left join student_quantiles using (n_features)
)
select
    sae,
    scorer,
    explainer,
    not list_contains($explaining_explainers::varchar[], explainer) as is_control,
    stratum,
    n_features,
    mean,
    clamp(low, 0, 1) as ci_low,
    clamp(high, 0, 1) as ci_high
from bounded
