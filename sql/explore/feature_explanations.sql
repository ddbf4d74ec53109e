-- One row per explanation of feature $feature of SAE $sae, controls last: its words and its scores on test
-- documents, one entry a scorer.
with own as (
    select *, not list_contains($explaining_explainers::varchar[], explainer) as is_control
    from explanations
    where sae = $sae and feature = $feature
),
metrics as (
    select distinct scorer, metric
    from score_index
    where sae = $sae
),
judged as (
    select
        scores.explanation_id,
        list({
            'scorer': scores.scorer,
            'metric': metrics.metric,
            'value': if(metrics.metric = 'auroc', scores.auroc, scores.balanced_accuracy),
            'low': if(metrics.metric = 'auroc', scores.auroc_low, scores.ci_low),
            'high': if(metrics.metric = 'auroc', scores.auroc_high, scores.ci_high),
            'precision': scores.precision,
            'recall': scores.recall,
            'f1': scores.f1,
            'auroc': scores.auroc,
            'n_scored': scores.n_scored,
            'n_unscored': scores.n_unscored,
            'reason': scores.reason
        } order by scores.scorer) as scores
    from scores
    left join metrics using (scorer)
    where scores.sae = $sae and scores.feature = $feature and scores.role = 'test'
    group by scores.explanation_id
)
select
    own.explanation_id,
    own.explainer,
    own.draw,
    own.explanation,
    own.status,
    own.is_control,
    len(own.example_ids) as n_shown,
    own.request_id,
    judged.scores
from own
left join judged using (explanation_id)
order by own.is_control, own.explainer = 'rule', own.explainer, own.draw
