-- One row per window whose activations were simulated (by activation_scorers) and stratum that it belongs to: sums
-- over its tokens of the predicted x and the true y, both from 0 to 10, of their squares and of their product.
-- y = round(10 a / the feature's largest train activation), at most 10. stratum: `all`, and those that the scorer
-- gives. A window without a usable answer, or of a feature that fires in no train document, is not scored and has
-- no sums.
with windows as (
    select
        examples.example_id,
        examples.doc_id,
        if(
            feature_stats.max_activation_train > 0,
            strengths(examples.activations, feature_stats.max_activation_train),
            null
        ) as truths
    from examples
    join feature_stats using (sae, feature)
    where examples.role = 'test'
),
asked as (
    select
        predictions.explanation_id,
        predictions.scorer,
        predictions.question_id,
        windows.doc_id as document,
        coalesce(predictions.status = 'ok' and len(predictions.values) = len(windows.truths), false) as is_scored,
        if(is_scored, predictions.values, []) as xs,
        if(is_scored, windows.truths, []) as ys,
        list_concat(['all'], predictions.strata) as strata
    from predictions
    join windows using (example_id)
    where list_contains($scoring_activation_scorers::text[], predictions.scorer)
)
select
    explanation_id,
    scorer,
    unnest(strata) as stratum,
    question_id,
    document,
    is_scored,
    len(xs)::double as n,
    list_sum(xs)::double as x,
    list_sum(ys)::double as y,
    list_dot_product(xs::double[], xs::double[]) as xx,
    list_dot_product(ys::double[], ys::double[]) as yy,
    list_dot_product(xs::double[], ys::double[]) as xy,
    len(list_filter(ys, lambda v: v > 0)) as n_firing
from asked
