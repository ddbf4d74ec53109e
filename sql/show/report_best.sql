-- One row per explanation of SAE $sae that is among the $n best or the $n worst, controls left out: its words, figures,
-- and the test window in which its feature fires most strongly. By the scorer that judged the most explanations,
-- exact rules apart.
-- A ranking of raw values puts the luckiest first, so it goes by values shrunken towards their mean m,
--   shrunken = m + t / (t + s) (value - m),
-- s the value's variance by its interval, t that of the true values: the variance of the values less the mean s, at
-- least 0 (Efron and Morris 1975).
with own as (
    select h.*, e.explanation
    from headline_scores as h
    join explanations as e using (explanation_id)
    where h.sae = $sae and h.role = 'test' and h.value is not null and h.explainer not in ('empty', 'other_feature')
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
        power((high - low) / (2 * $scoring_z::double), 2) as s,
        avg(value) over () as m,
        greatest(0, var_samp(value) over () - avg(s) over ()) as t,
        if(t + s > 0, m + t / (t + s) * (value - m), value) as shrunken
    from own
    semi join judge using (scorer)
),
ranked as (
    select
        *,
        row_number() over (order by shrunken desc, value desc, explanation_id) as from_best,
        row_number() over (order by shrunken, value, explanation_id desc) as from_worst
    from judged
),
strongest as (
    select feature, arg_max(token_ids, (peak, example_id)) as token_ids,
        arg_max(activations, (peak, example_id)) as activations
    from examples
    where sae = $sae and role = 'test' and kind = 'activating'
    group by feature
)
select
    r.from_best <= $n as is_best,
    r.feature,
    r.explainer,
    r.explanation,
    r.scorer,
    r.metric,
    r.value,
    r.low,
    r.high,
    r.shrunken,
    x.f1 as rule_f1,
    w.token_ids,
    w.activations
from ranked as r
left join scores as x on x.explanation_id = r.explanation_id and x.scorer = 'rule_exact'
left join strongest as w on w.feature = r.feature
where r.from_best <= $n or r.from_worst <= $n
order by r.from_best
