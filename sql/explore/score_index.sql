-- One row per explanation and scorer, with the scorer's main metric. The main scorer of an SAE is the one that
-- judged the most explanations, exact rules apart.
with judged as (
    select
        explanation_id, sae, feature, explainer, scorer, metric, value, low, high, chance, precision, recall, f1,
        n_scored, n_unscored, reason
    from headline_scores
),
counted as (
    select sae, scorer, count(value) as n
    from judged
    where scorer <> 'rule_exact'
    group by sae, scorer
)
select
    judged.*,
    judged.scorer = first_value(counted.scorer) over (
        partition by judged.sae order by counted.n desc nulls last, counted.scorer
    ) as is_main
from judged
left join counted using (sae, scorer)
order by judged.sae, judged.feature, judged.explanation_id, judged.scorer
