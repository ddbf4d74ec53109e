-- One row per SAE and scorer: how its main metric correlates with the share of readers whose last verdict is that
-- an explanation fits, over the explanations that both judged; controls are left out, as in scorer_agreements.
-- Pearson r has Fisher's interval over features, z / sqrt(n - 3) to either side, since explanations of one feature
-- are not independent. Null under 4 features, or where the scores or the shares do not vary. The noise of few
-- readers lowers it.
with shares as (
    select explanation_id, count(*) as n_verdicts, avg((verdict = 'fits')::int) as share
    from last_ratings
    group by explanation_id
),
correlated as (
    select
        score_index.sae,
        score_index.scorer,
        count(*) as n_explanations,
        count(distinct score_index.feature) as n_features,
        sum(shares.n_verdicts)::bigint as n_verdicts,
        nullif(corr(score_index.value, shares.share), 'nan'::double) as r
    from score_index
    join shares using (explanation_id)
    where
        score_index.value is not null
        and list_contains($explaining_explainers::varchar[], score_index.explainer)
    group by score_index.sae, score_index.scorer
)
select
    sae,
    scorer,
    n_explanations,
    n_features,
    n_verdicts,
    if(n_features > 3, r, null) as pearson,
    if(n_features > 3, fisher_low(r, $scoring_z::double / sqrt(n_features - 3)), null) as pearson_low,
    if(n_features > 3, fisher_high(r, $scoring_z::double / sqrt(n_features - 3)), null) as pearson_high
from correlated
order by sae, n_explanations desc, scorer
