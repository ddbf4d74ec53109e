-- One row per explanation of SAE $sae that is among the $n best or the $n worst, the best and the worst first,
-- controls and draws that were not chosen left out: its words, figures, and the test window in which its feature
-- fires most strongly. Scores are by the scorer that judged the most explanations, exact rules apart. A feature's
-- second and further explanations come after the first ones of all features.
-- A ranking of raw values puts the luckiest first, so it is by values shrunk towards their mean m:
--   shrunken = m + t / (t + s) (value - m),
-- with s the value's variance by its interval, and t that of the true values: the variance of the values less the
-- mean s, at least 0 (Efron and Morris 1975), over those that have an interval. A value without an interval may
-- vary by any amount: it is shrunk to m, and comes after others of the same shrunken value.
with own as (
    select headline_scores.*, explanations.explanation
    from headline_scores
    join explanations using (explanation_id)
    anti join other_draws using (explanation_id)
    where
        headline_scores.sae = $sae
        and headline_scores.value is not null
        and list_contains($explaining_explainers::varchar[], headline_scores.explainer)
),
judge as (
    select scorer
    from own
    where scorer <> 'rule_exact'
    group by scorer
    order by count(*) desc, scorer
    limit 1
),
judged as (
    select
        own.*,
        interval_variance(low, high, $scoring_z::double) as s,
        avg(value) over () as m,
        greatest(0, var_samp(value) filter (s is not null) over () - avg(s) over ()) as t,
        case when s is null then m when t + s > 0 then m + t / (t + s) * (value - m) else value end as shrunken
    from own
    semi join judge using (scorer)
),
in_feature as (
    select
        *,
        row_number() over (partition by feature order by shrunken desc, s is null, value desc, explanation_id)
            as own_best,
        row_number() over (partition by feature order by shrunken, s is null, value, explanation_id desc)
            as own_worst
    from judged
),
ranked as (
    select
        *,
        row_number() over (order by own_best > 1, shrunken desc, s is null, value desc, explanation_id)
            as from_best,
        row_number() over (order by own_worst > 1, shrunken, s is null, value, explanation_id desc)
            as from_worst
    from in_feature
),
strongest as (
    select
        feature,
        arg_max(token_ids, (peak, example_id)) as token_ids,
        arg_max(activations, (peak, example_id)) as activations
    from examples
    where sae = $sae and role = 'test' and kind = 'activating'
    group by feature
)
select
    ranked.from_best <= $n as is_best,
    ranked.feature,
    ranked.explainer,
    ranked.explanation,
    ranked.scorer,
    ranked.metric,
    ranked.value,
    ranked.low,
    ranked.high,
    ranked.shrunken,
    scores.f1 as rule_f1,
    strongest.token_ids,
    strongest.activations
from ranked
left join scores on scores.explanation_id = ranked.explanation_id and scores.scorer = 'rule_exact'
left join strongest on strongest.feature = ranked.feature
where ranked.from_best <= $n or ranked.from_worst <= $n
order by is_best desc, if(is_best, ranked.from_best, ranked.from_worst)
