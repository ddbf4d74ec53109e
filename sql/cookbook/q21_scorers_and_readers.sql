-- One row per SAE and scorer, with Pearson's r of its main metric and the share of readers whose last verdict on
-- an explanation's present words is that it fits: do scorers agree with readers?
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
)
select
    score_details.sae,
    score_details.scorer,
    score_details.metric,
    count(*) as n_explanations,
    sum(shares.n_verdicts)::bigint as n_verdicts,
    round(corr(score_details.value, shares.share), 2) as pearson
from score_details
semi join summary using (sae, scorer, metric)
join shares using (explanation_id)
where stratum = 'all' and weighting = 'sample' and value is not null
group by score_details.sae, score_details.scorer, score_details.metric
order by score_details.sae, score_details.scorer
