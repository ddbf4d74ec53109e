-- One row per pair of readers who have rated the same explanations: how often they give the same verdict, and
-- Cohen's kappa (1960) with its interval:
--   kappa = (p - c) / (1 - c),
-- with p the share of equal verdicts, and c the share expected of two readers who give each verdict independently,
-- as often as these do. Its bounds are kappa at Wilson's bounds of p, so that agreement on all of ten is not taken
-- for agreement on everything. Null under 10 explanations.
with other_ratings as (
    select explanation_id, rater as other_rater, verdict as other_verdict
    from last_ratings
),
pairs as (
    select rater, other_rater, verdict, other_verdict
    from last_ratings
    join other_ratings using (explanation_id)
    where other_rater > rater
),
counted as (
    select rater, other_rater, count(*) as n, avg((verdict = other_verdict)::int) as agreed
    from pairs
    group by rater, other_rater
),
said as (
    select rater, other_rater, verdict, count(*) as n_said
    from pairs
    group by rater, other_rater, verdict
),
other_said as (
    select rater, other_rater, other_verdict as verdict, count(*) as n_said
    from pairs
    group by rater, other_rater, other_verdict
),
expected as (
    select rater, other_rater, sum(said.n_said * other_said.n_said) as n_chance
    from said
    join other_said using (rater, other_rater, verdict)
    group by rater, other_rater
),
judged as (
    select
        counted.*,
        coalesce(expected.n_chance, 0) / (counted.n * counted.n) as chance,
        if(counted.n >= 10 and chance < 1, (agreed - chance) / (1 - chance), null) as kappa,
        wilson_low(agreed, counted.n, $scoring_z::double) as agreed_low,
        wilson_high(agreed, counted.n, $scoring_z::double) as agreed_high
    from counted
    left join expected using (rater, other_rater)
)
select
    rater,
    other_rater,
    n,
    agreed,
    kappa,
    if(kappa is null, null, clamp((agreed_low - chance) / (1 - chance), -1, 1)) as kappa_low,
    if(kappa is null, null, clamp((agreed_high - chance) / (1 - chance), -1, 1)) as kappa_high
from judged
order by n desc, rater, other_rater
