-- One row per question put to a scorer, with the stratum of its example and whether its answer is scored.
-- Only an answer of status ok is scored; a failure is neither a label nor a zero. A scorer that ranks windows
-- gives a probability (or a similarity) and no prediction, so nothing is right or wrong. A choice has label true,
-- and is right where its prediction is true. A question without an example counts as its own document, unless its
-- scorer gives a `cluster` of questions that share texts (is_clustered).
-- is_put: whether there was anything to ask; if not (`no_input`), the question is neither scored nor unscored.
-- A row without a label is not a yes/no question (simulation, graded): it has scores of its own.
with joined as (
    select
        predictions.explanation_id,
        explanations.sae,
        explanations.feature,
        explanations.explainer,
        predictions.scorer,
        predictions.question_id,
        coalesce(examples.doc_id, predictions.cluster, predictions.question_id) as document,
        examples.doc_id is null and predictions.cluster is not null as is_clustered,
        predictions.status <> 'no_input' as is_put,
        examples.kind,
        examples.decile,
        predictions.label,
        predictions.prediction,
        predictions.n_choices,
        predictions.strata,
        if(isfinite(predictions.probability), predictions.probability, null) as probability,
        coalesce(
            predictions.status = 'ok'
            and (predictions.prediction is not null or isfinite(predictions.probability)),
            false
        ) as is_scored
    from predictions
    join explanations using (explanation_id)
    left join examples using (example_id)
    where predictions.label is not null
)
select *, if(is_scored, label = prediction, null) as is_right
from joined
