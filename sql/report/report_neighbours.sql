-- One row per SAE, explainer and rank of a neighbour (1 is the nearest): how often the scorer neighbours is right
-- about windows of that neighbour, in which the feature is silent. The mean over features with Student's interval,
-- null under 3 features.
with by_feature as (
    select
        sae,
        explainer,
        regexp_extract(stratum, '^rank ([0-9]+)$', 1)::int as rank,
        feature,
        avg(value) as value
    from score_details
    where
        scorer = 'neighbours'
        and role = 'test'
        and metric = 'accuracy'
        and weighting = 'sample'
        and regexp_matches(stratum, '^rank [0-9]+$')
        and value is not null
    group by sae, explainer, rank, feature
),
averaged as (
    select
        sae,
        explainer,
        rank,
        count(*) as n_features,
        avg(value) as mean,
        sqrt(var_samp(value) / count(*)) as error
    from by_feature
    group by sae, explainer, rank
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
    explainer,
    not list_contains($explaining_explainers::varchar[], explainer) as is_control,
    rank,
    n_features,
    mean,
    -- greatest(0, null) is 0
    if(low < 0, 0, low) as ci_low,
    if(high > 1, 1, high) as ci_high
from bounded
order by sae, is_control, explainer, rank
