-- One row per explanation of feature $feature of SAE $sae, controls last: its words and its scores on test
-- documents, one entry a scorer.
with own as (
    select *, not list_contains($explaining_explainers::varchar[], explainer) as is_control
    from explanations
    where sae = $sae and feature = $feature
),
headlines as (
    select explanation_id, scorer, metric, value, low, high
    from score_index
    where sae = $sae and feature = $feature
),
judged as (
    select
        scores.explanation_id,
        list({
            'scorer': scores.scorer,
            'metric': headlines.metric,
            'value': headlines.value,
            'low': headlines.low,
            'high': headlines.high,
            'precision': scores.precision,
            'recall': scores.recall,
            'f1': scores.f1,
            'n_scored': scores.n_scored,
            'n_unscored': scores.n_unscored,
            'reason': scores.reason
        } order by scores.scorer) as scores
    from scores
    left join headlines using (explanation_id, scorer)
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
