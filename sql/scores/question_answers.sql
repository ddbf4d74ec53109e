-- One row per question put to a scorer, with the stratum of its example and whether its answer is scored.
-- Only an answer of status ok is scored; a failure is neither a label nor a zero. A scorer that ranks windows gives a
-- probability (or a likeness) and no prediction: nothing is right or wrong then. A question without an example is a
-- document of its own.
with joined as (
    select
        p.explanation_id,
        e.sae,
        e.feature,
        e.explainer,
        p.scorer,
        p.role,
        p.question_id,
        coalesce(x.doc_id, p.question_id) as document,
        x.kind,
        x.decile,
        p.label,
        p.prediction,
        if(isfinite(p.probability), p.probability, null) as probability,
        coalesce(
            p.status = 'ok' and p.label is not null and (p.prediction is not null or isfinite(p.probability)), false
        ) as is_scored
    from predictions as p
    join explanations as e using (explanation_id)
    left join examples as x using (example_id)
)
select *, if(is_scored, label = prediction, null) as is_right
from joined
