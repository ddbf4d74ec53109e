-- One row per explanation of SAE $sae by an explainer of the config (all others are controls), best first, of
-- rules only those of route `rule`: its words, and balanced accuracy with interval by scorer; for a rule also the
-- F1 over every test token.
with judged as (
    select
        explanation_id,
        list(
            {'scorer': scorer, 'value': balanced_accuracy, 'low': ci_low, 'high': ci_high} order by scorer
        ) filter (scorer <> 'rule_exact') as scores,
        avg(balanced_accuracy) filter (scorer <> 'rule_exact') as mean,
        max(f1) filter (scorer = 'rule_exact') as rule_f1
    from scores
    where sae = $sae
    group by explanation_id
)
select
    explanations.feature,
    explanations.explainer,
    explanations.status,
    explanations.explanation,
    judged.scores,
    judged.rule_f1
from explanations
join feature_routes using (sae, feature)
left join judged using (explanation_id)
where
    explanations.sae = $sae
    and list_contains($explaining_explainers::varchar[], explanations.explainer)
    and (explanations.explainer <> 'rule' or feature_routes.route = 'rule')
order by explanations.explainer, judged.mean desc nulls last, explanations.feature
limit 40
