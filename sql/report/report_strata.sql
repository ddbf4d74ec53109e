-- One row per SAE, scorer, explainer and stratum: the share of right answers about windows of a decile of the
-- peak (1 is the weakest), or of a kind of silent windows, as the mean over features with Student's interval,
-- null under 3 features.
with by_feature as (
    select sae, scorer, explainer, stratum, feature, avg(value) as value
    from score_details
    where
        role = 'test'
        and metric = 'accuracy'
        and weighting = 'sample'
        and stratum <> 'activating'
        and value is not null
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
        sqrt(var_samp(value) / count(*)) as error
    from by_feature
    group by sae, scorer, explainer, stratum
)
select
    averaged.sae,
    averaged.scorer,
    averaged.explainer,
    not list_contains($explaining_explainers::varchar[], averaged.explainer) as is_control,
    averaged.stratum,
    coalesce(
        try_cast(regexp_extract(averaged.stratum, '^decile ([0-9]+)$', 1) as int),
        -list_position(['same_token', 'neighbour', 'random'], averaged.stratum)
    ) as place,
    averaged.n_features,
    averaged.mean,
    greatest(0, averaged.mean - student_quantiles.t * averaged.error) as ci_low,
    least(1, averaged.mean + student_quantiles.t * averaged.error) as ci_high
from averaged
left join student_quantiles using (n_features)
order by averaged.sae, averaged.scorer, is_control, averaged.explainer, place
