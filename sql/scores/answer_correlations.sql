-- One row per SAE and scorer: rho, the correlation of right answers to two questions about one document, estimated
-- from all scored answers, with its standard error. For a scorer that only ranks, it is the correlation of the
-- values that it ranks by; for one that grades windows, that of the grades, within the windows in which the
-- feature fires and within silent ones.
-- Answers about controls are left out: about an empty explanation they hardly depend on the document. Those of a
-- scorer that judges features instead of explanations (all belong to `empty`) count.
-- The analysis-of-variance estimator, pooled over cells of one explanation, scorer and label (Donner 1986; Ridout,
-- Demetrio and Firth 1999): rho = (MSB - MSW) / (MSB + (m - 1) MSW), with the mean squares between and within
-- documents and m = sum over cells (n - sum over documents n_d^2 / n) / sum (documents - 1). It may be negative by
-- chance, and is null where no document was asked about twice, or every answer was right.
-- n_repeated: questions beyond a document's first. Explanations of one feature are judged on the same documents,
-- so the standard error is the jackknife's over features: (F - 1) / F sum (rho without one feature - their
-- mean)^2.
with controls as (
    select explanation_id, explainer as control from explanations where explainer in ('empty', 'other_feature')
),
judged as (
    select
        question_answers.*,
        controls.control,
        bool_and(coalesce(controls.control = 'empty', false)) over (
            partition by question_answers.sae, question_answers.scorer
        ) as is_of_features
    from question_answers
    left join controls using (explanation_id)
),
answers as (
    select sae, feature, explanation_id, scorer, label, document, coalesce(is_right::double, probability) as value
    from judged
    where is_scored and (control is null or is_of_features) and (is_right is not null or probability is not null)
    union all
    select
        explanations.sae,
        explanations.feature,
        predictions.explanation_id,
        predictions.scorer,
        examples.kind = 'activating' as label,
        examples.doc_id as document,
        predictions.values[1] as value
    from predictions
    join explanations using (explanation_id)
    anti join controls using (explanation_id)
    join examples using (example_id)
    where
        predictions.label is null
        and len(predictions.values) = 1
        and predictions.status = 'ok'
        and value is not null
),
by_document as (
    select
        sae,
        feature,
        explanation_id,
        scorer,
        label,
        document,
        count(*)::double as n,
        exact_sum(value) as total,
        exact_sum(value * value) as squares
    from answers
    group by sae, feature, explanation_id, scorer, label, document
),
by_cell as (
    select
        sae,
        feature,
        explanation_id,
        scorer,
        sum(n) as n,
        count(*) as n_documents,
        sum(n * n) as n_squared,
        exact_sum(total) as total,
        exact_sum(squares) as squares,
        exact_sum(total * total / n) as document_squares
    from by_document
    group by sae, feature, explanation_id, scorer, label
),
by_feature as (
    -- Sums of squares between and within documents, and their divisors; as decimals, so that one feature's can be
    -- subtracted exactly.
    select
        sae,
        scorer,
        feature,
        count(distinct explanation_id) as n_explanations,
        sum(n) as n_questions,
        sum(n - n_documents) as n_repeated,
        sum(n_documents - 1) as n_between,
        sum((n - n_squared / n)::decimal(38, 12)) as spread,
        sum((document_squares - total * total / n)::decimal(38, 12)) as between,
        sum((squares - document_squares)::decimal(38, 12)) as within
    from by_cell
    group by sae, scorer, feature
),
pooled as (
    select
        sae,
        scorer,
        count(*) as n_features,
        sum(n_explanations)::bigint as n_explanations,
        sum(n_questions)::bigint as n_questions,
        sum(n_repeated) as n_repeated,
        sum(n_between) as n_between,
        sum(spread) as spread,
        sum(between) as between,
        sum(within) as within
    from by_feature
    group by sae, scorer
),
without_one as (
    -- With each feature left out in turn, and with none left out (feature is null).
    select
        pooled.sae,
        pooled.scorer,
        by_feature.feature,
        pooled.n_repeated - by_feature.n_repeated as n_repeated,
        pooled.n_between - by_feature.n_between as n_between,
        pooled.spread - by_feature.spread as spread,
        pooled.between - by_feature.between as between,
        pooled.within - by_feature.within as within
    from pooled
    join by_feature using (sae, scorer)
    union all
    select sae, scorer, null as feature, n_repeated, n_between, spread, between, within
    from pooled
),
squared as (
    select
        sae,
        scorer,
        feature,
        between::double / nullif(n_between, 0) as between,
        within::double / nullif(n_repeated, 0) as within,
        spread::double / nullif(n_between, 0) as m
    from without_one
),
estimated as (
    select
        sae,
        scorer,
        feature,
        (between - within) / nullif(between + (m - 1) * within, 0) as rho
    from squared
),
spread_out as (
    select
        sae,
        scorer,
        (count(rho) - 1) * sqrt(exact_variance(rho) / count(rho)) as standard_error
    from estimated
    where feature is not null
    group by sae, scorer
    having count(rho) > 1
)
select
    pooled.sae,
    pooled.scorer,
    pooled.n_features,
    pooled.n_explanations,
    pooled.n_questions,
    pooled.n_repeated::bigint as n_repeated,
    estimated.rho,
    spread_out.standard_error
from pooled
join estimated
    on estimated.sae = pooled.sae
    and estimated.scorer = pooled.scorer
    and estimated.feature is null
left join spread_out on spread_out.sae = pooled.sae and spread_out.scorer = pooled.scorer
