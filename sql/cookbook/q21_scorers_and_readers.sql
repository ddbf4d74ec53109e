-- One row per SAE and scorer, with Pearson's r of its main metric and the share of readers whose last verdict on
-- an explanation's present words is that it fits, controls left out: do scorers agree with readers? The 95 %
-- interval is Fisher's over features; all null under 4.
with verdicts as (
    select ratings.explanation_id, ratings.rater, arg_max(ratings.verdict, ratings.rated_at) as verdict
    from ratings
    join explanations using (explanation_id)
    where ratings.explanation_sha256 = sha256(explanations.explanation)
    group by ratings.explanation_id, ratings.rater
),
shares as (
    select explanation_id, count(*) as n_verdicts, avg((verdict = 'fits')::int) as share
    from verdicts
    group by explanation_id
),
correlated as (
    select
        score_details.sae,
        score_details.scorer,
        score_details.metric,
        count(*) as n_explanations,
        count(distinct score_details.feature) as n_features,
        sum(shares.n_verdicts)::bigint as n_verdicts,
        nullif(corr(score_details.value, shares.share), 'nan'::double) as r,
        if(n_features > 3, 1.96 / sqrt(n_features - 3), null) as half
    from score_details
    semi join summary using (sae, scorer, metric)
    join shares using (explanation_id)
    where
        score_details.stratum = 'all'
        and score_details.weighting = 'sample'
        and score_details.value is not null
        and score_details.explainer not in ('empty', 'other_feature')
    group by score_details.sae, score_details.scorer, score_details.metric
)
select
    sae,
    scorer,
    metric,
    n_explanations,
    n_features,
    n_verdicts,
    if(half is null, null, round(r, 2)) as pearson,
    round(fisher_low(r, half), 2) as low,
    round(fisher_high(r, half), 2) as high
from correlated
order by sae, scorer
