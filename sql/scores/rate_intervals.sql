-- One row per explanation, scorer, role and rate that an answered question speaks to: the share of right answers,
-- null where the scorer ranks and nothing is right or wrong.
-- rate: `recall` (positive label), `specificity` (negative label), `precision` (positive prediction), or in place
-- of these `accuracy` (choices); `decile 1` to `decile 10` (positives of that decile), or the kind of the example;
-- and the question's own strata.
-- Wilson's interval with n by the design effect: m = sum over documents n_d^2 / n, the questions of its document
-- that a question has on average; rho the pilot's (scorer_rhos), else the config's.
with named as (
    select
        sae,
        explanation_id,
        scorer,
        role,
        document,
        is_right,
        unnest([
            case when n_choices is not null then 'accuracy' when label then 'recall' else 'specificity' end,
            if(prediction and n_choices is null, 'precision', null),
            if(label, 'decile ' || decile, null),
            kind
        ] || coalesce(strata, [])) as rate
    from question_answers
    where is_scored
),
by_document as (
    select
        sae, explanation_id, scorer, role, rate, document, count(*) as n, count(is_right) as n_judged,
        count(*) filter (is_right) as n_right
    from named
    where rate is not null
    group by sae, explanation_id, scorer, role, rate, document
),
counted as (
    select
        sae,
        explanation_id,
        scorer,
        role,
        rate,
        sum(n)::bigint as n,
        sum(n_judged)::bigint as n_judged,
        sum(n_right)::bigint as n_right,
        sum(n * n) / sum(n) as m
    from by_document
    group by sae, explanation_id, scorer, role, rate
),
measured as (
    select
        *,
        if(n_judged > 0, n_right / n, null) as value,
        n / design_effect(m, coalesce(scorer_rhos.rho, $scoring_rho::double)) as n_effective
    from counted
    left join scorer_rhos using (sae, scorer)
)
select
    explanation_id,
    scorer,
    role,
    rate,
    n,
    n_right,
    m,
    n_effective,
    value,
    wilson_low(value, n_effective, $scoring_z::double) as low,
    wilson_high(value, n_effective, $scoring_z::double) as high
from measured
