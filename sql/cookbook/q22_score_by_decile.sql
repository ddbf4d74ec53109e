-- One row per SAE, scorer, explainer and decile of the activation: what share of windows does a scorer judge
-- correctly, by how strongly the feature fires? Means over features with Student's interval (95 %).
with averaged as (
    select
        sae,
        scorer,
        explainer,
        decile,
        count(*) as n_features,
        avg(value) as mean,
        student_t(1.96, count(*)) * error_of_mean(value, interval_variance(ci_low, ci_high, 1.96)) as half_width
    from score_details
    semi join (select explanation_id from explanations where is_chosen) as chosen using (explanation_id)
    where metric = 'accuracy' and decile is not null and value is not null
    group by sae, scorer, explainer, decile
)
select
    sae,
    scorer,
    explainer,
    decile,
    n_features,
    round(mean, 2) as share_correct,
    round(clamp(mean - half_width, 0, 1), 2) as low,
    round(clamp(mean + half_width, 0, 1), 2) as high
from averaged
order by sae, scorer, explainer, decile
