-- One row per SAE, scorer, explainer and stratum: the share of right answers about its windows, of the
-- explanations that were chosen, as the mean over features with Student's interval, null under 3 features. As in
-- summary, the variance of a share is no less than its own interval says.
with by_feature as (
    select
        sae,
        scorer,
        explainer,
        stratum,
        feature,
        avg(value) as value,
        avg(power((ci_high - ci_low) / (2 * $scoring_z::double), 2)) as own_variance
    from score_details
    anti join other_draws using (explanation_id)
    where role = 'test' and metric = 'accuracy' and weighting = 'sample' and value is not null
    group by sae, scorer, explainer, stratum, feature
),
averaged as (
    select
        sae,
        scorer,
        explainer,
        stratum,
        count(*) as n_features,
        avg(value) as mean,
        sqrt(greatest(var_samp(value), avg(own_variance)) / count(*)) as error
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
    -- greatest(0, null) is 0
    if(low < 0, 0, low) as ci_low,
    if(high > 1, 1, high) as ci_high
from bounded
