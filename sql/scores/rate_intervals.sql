-- One row per explanation, scorer and rate with at least one answered question: the share of right answers, null
-- where the scorer ranks and nothing is right or wrong.
-- rate: `recall` (positive label), `specificity` (negative label), `precision` (positive prediction), or instead
-- of these `accuracy` (choices); `decile 1` to `decile 10` (positives of that decile, choices apart), or the kind
-- of the example; and the question's own strata. coverage: the share of the rate's questions that was answered,
-- of those that were put.
-- Wilson's interval, with n by the design effect: m = sum over documents n_d^2 / n is the mean, over questions, of
-- the number of questions about the same document; rho is the pilot's (scorer_rhos), else the config's.
-- Answers about the same texts (is_clustered) are far more alike, and no pilot measures them. Their rho is that of
-- the explanation's own answers (or of the values that it ranks by), by analysis of variance as in
-- answer_correlations; it is at least the rho above, and 1 where all answers are the same, which shows no
-- variance. In simulations of 8 trials at 3 targets, with true correlations of 0 to 0.95, 95 % intervals cover 95
-- % on average and at least 90 %; treated as independent answers, 86 and 69 %.
with named as (
    select
        sae,
        explanation_id,
        scorer,
        document,
        is_right,
        is_put,
        is_scored,
        is_clustered,
        coalesce(is_right::double, probability) as answer,
        unnest([
            case when n_choices is not null then 'accuracy' when label then 'recall' else 'specificity' end,
            if(prediction and n_choices is null, 'precision', null),
            if(label and n_choices is null, 'decile ' || decile, null),
            kind
        ] || coalesce(strata, [])) as rate
    from question_answers
),
covered as (
    select
        explanation_id, scorer, rate, count(*) filter (is_scored) / count(*) as coverage
    from named
    where is_put
    group by explanation_id, scorer, rate
),
by_document as (
    select
        sae,
        explanation_id,
        scorer,
        rate,
        document,
        bool_and(is_clustered) as is_clustered,
        count(*) as n,
        count(is_right) as n_judged,
        count(*) filter (is_right) as n_right,
        exact_sum(answer) as total,
        exact_sum(answer * answer) as squares
    from named
    where is_scored and rate is not null
    group by sae, explanation_id, scorer, rate, document
),
counted as (
    select
        sae,
        explanation_id,
        scorer,
        rate,
        sum(n)::bigint as n,
        sum(n_judged)::bigint as n_judged,
        sum(n_right)::bigint as n_right,
        sum(n * n) / sum(n) as m,
        bool_and(is_clustered) as is_clustered,
        count(*) as n_documents,
        exact_sum(squares) as squares,
        exact_sum(total * total / n) as document_squares,
        power(exact_sum(total), 2) / sum(n) as whole_square
    from by_document
    group by sae, explanation_id, scorer, rate
),
squared as (
    -- own_rho: (between - within) / (between + (spread - 1) within), with the mean squares between and within
    -- documents and spread, the number of answers per document that unequal documents are worth.
    select
        *,
        (document_squares - whole_square) / nullif(n_documents - 1, 0) as between,
        (squares - document_squares) / nullif(n - n_documents, 0) as within,
        (n - m) / nullif(n_documents - 1, 0) as spread,
        (between - within) / nullif(between + (spread - 1) * within, 0) as own_rho
    from counted
),
measured as (
    select
        *,
        if(n_judged > 0, n_right / n, null) as value,
        coalesce(scorer_rhos.rho, $scoring_rho::double) as given_rho,
        if(is_clustered, greatest(given_rho, least(1, coalesce(own_rho, 1))), given_rho) as assumed_rho,
        n / design_effect(m, assumed_rho) as n_effective
    from squared
    left join scorer_rhos using (sae, scorer)
)
select
    explanation_id,
    scorer,
    rate,
    n,
    n_right,
    m,
    n_effective,
    coverage,
    value,
    wilson_low(value, n_effective, $scoring_z::double) as low,
    wilson_high(value, n_effective, $scoring_z::double) as high
from measured
join covered using (explanation_id, scorer, rate)
