-- One row per SAE and scorer: rho found, the correlation of right answers to two questions of one document, over
-- all that were scored. It stands beside the rho of the config, by which every interval was widened.
-- The analysis-of-variance estimator, pooled over cells of one explanation, scorer and label (Donner 1986; Ridout,
-- Demetrio and Firth 1999): rho = (MSB - MSW) / (MSB + (m - 1) MSW), of the mean squares between and within
-- documents and m = sum over cells (n - sum over documents n_d^2 / n) / sum (documents - 1). It may be negative by
-- chance, and is null where no document was asked about twice, or every answer was right. n_repeated: questions
-- beyond a document's first.
with by_document as (
    select
        sae,
        explanation_id,
        scorer,
        label,
        document,
        count(*)::double as n,
        count(*) filter (is_right)::double as n_right
    from question_answers
    where is_right is not null
    group by sae, explanation_id, scorer, label, document
),
by_cell as (
    select
        sae,
        scorer,
        sum(n) as n,
        count(*) as n_documents,
        sum(n_right) as n_right,
        sum(n * n) as n_squared,
        sum((n_right * n_right / n)::decimal(38, 15))::double as document_squares
    from by_document
    group by sae, explanation_id, scorer, label
),
pooled as (
    -- n_right is a sum of squares as well: an answer is 0 or 1.
    select
        sae,
        scorer,
        sum(n)::bigint as n_questions,
        sum(n - n_documents)::bigint as n_repeated,
        sum((document_squares - n_right * n_right / n)::decimal(38, 15))::double / sum(n_documents - 1) as between,
        sum((n_right - document_squares)::decimal(38, 15))::double / sum(n - n_documents) as within,
        sum((n - n_squared / n)::decimal(38, 15))::double / sum(n_documents - 1) as m
    from by_cell
    group by sae, scorer
)
select
    sae,
    scorer,
    n_questions,
    n_repeated,
    if(n_repeated = 0, null, (between - within) / nullif(between + (m - 1) * within, 0)) as rho
from pooled
