-- One row per SAE and scorer, with Pearson's r of its scores and the share of readers whose last verdict on an
-- explanation's present words is that it fits: do scorers agree with readers?
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
    scores.sae,
    scores.scorer,
    count(*) as n_explanations,
    sum(shares.n_verdicts)::bigint as n_verdicts,
    round(corr(coalesce(balanced_accuracy, auroc, correlation), shares.share), 2) as pearson
from scores
join shares using (explanation_id)
where coalesce(balanced_accuracy, auroc, correlation) is not null
group by scores.sae, scores.scorer
order by scores.sae, scores.scorer
