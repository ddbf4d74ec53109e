-- One row per explanation and pair of scorers that both judged it, controls left out: the two scores, and over
-- all explanations of the pair their correlation (Pearson) with Fisher's interval, null under 10 explanations.
with judged as (
    select sae, explanation_id, explainer, scorer, value
    from headline_scores
    where
        role = 'test'
        and value is not null
        and list_contains($explaining_explainers::varchar[], explainer)
),
paired as (
    select
        judged.sae,
        judged.explanation_id,
        judged.explainer,
        judged.scorer,
        others.scorer as other_scorer,
        judged.value,
        others.value as other_value
    from judged
    join judged as others
        on others.explanation_id = judged.explanation_id
        and others.scorer > judged.scorer
),
correlated as (
    -- Where one of the two is the same for all, there is none: the quotient is no number.
    select sae, scorer, other_scorer, count(*) as n, nullif(corr(value, other_value), 'nan'::double) as correlation
    from paired
    group by sae, scorer, other_scorer
)
select
    paired.*,
    correlated.n,
    correlated.correlation,
    if(
        correlated.n < 10 or abs(correlated.correlation) > 0.999999,
        null,
        tanh(atanh(correlated.correlation) - $scoring_z::double / sqrt(correlated.n - 3))
    ) as correlation_low,
    if(
        correlated.n < 10 or abs(correlated.correlation) > 0.999999,
        null,
        tanh(atanh(correlated.correlation) + $scoring_z::double / sqrt(correlated.n - 3))
    ) as correlation_high
from paired
join correlated using (sae, scorer, other_scorer)
order by paired.sae, paired.scorer, paired.other_scorer, paired.explanation_id
