-- One row per LLM explanation and rule of route `rule` of SAE $sae, best first: its words, and balanced accuracy
-- with interval by scorer; for a rule also the F1 over every test token.
with judged as (
    select
        explanation_id,
        max(balanced_accuracy) filter (scorer = 'detection') as detection,
        max(ci_low) filter (scorer = 'detection') as detection_low,
        max(ci_high) filter (scorer = 'detection') as detection_high,
        max(balanced_accuracy) filter (scorer = 'fuzzing') as fuzzing,
        max(ci_low) filter (scorer = 'fuzzing') as fuzzing_low,
        max(ci_high) filter (scorer = 'fuzzing') as fuzzing_high,
        max(f1) filter (scorer = 'rule_exact') as rule_f1
    from scores
    where sae = $sae
    group by explanation_id
)
select e.feature, e.explainer, e.status, e.explanation, j.* exclude (explanation_id)
from explanations as e
join feature_routes as r using (sae, feature)
left join judged as j using (explanation_id)
where e.sae = $sae and (e.explainer = 'default' or (e.explainer = 'rule' and r.route = 'rule'))
order by e.explainer, j.detection desc nulls last, e.feature
limit 40
