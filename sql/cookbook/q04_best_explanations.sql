-- One row per explanation and scorer: which explanations are reliably good? Ranked by the lower end of their
-- interval.
select
    scores.sae,
    scores.feature,
    scores.explainer,
    scores.scorer,
    round(coalesce(scores.balanced_accuracy, scores.auroc), 2) as score,
    round(coalesce(scores.ci_low, scores.auroc_low), 2) as low,
    round(coalesce(scores.ci_high, scores.auroc_high), 2) as high,
    explanations.explanation
from scores
join explanations using (explanation_id)
where scores.role = 'test' and scores.scorer <> 'rule_exact' and explanations.explanation <> ''
order by low desc nulls last, scores.feature, scores.explainer, scores.scorer
