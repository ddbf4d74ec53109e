-- One row per explanation of SAE $sae that is no control, best first, of rules only those of route `rule`: its words,
-- and balanced accuracy with interval by scorer; for a rule also the F1 over every test token.
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
select e.feature, e.explainer, e.status, e.explanation, j.scores, j.rule_f1
from explanations as e
join feature_routes as r using (sae, feature)
left join judged as j using (explanation_id)
where
    e.sae = $sae
    and e.explainer not in ('empty', 'other_feature')
    and (e.explainer <> 'rule' or r.route = 'rule')
order by e.explainer, j.mean desc nulls last, e.feature
limit 40
