-- One row per explanation of SAE $sae that is among the $n best or the $n worst, the best and the worst first,
-- controls and draws that were not chosen left out: its words, figures, and the test window in which its feature
-- fires most strongly. Scores are by the scorer that judged the most explanations, exact rules apart. A feature's
-- second and further explanations come after the first ones of all features.
-- A ranking of raw values puts the luckiest first, so it is by values shrunk towards their mean m:
--   shrunken = m + t / (t + s) (value - m),
-- with s the value's variance by its interval, and t that of the true values: the variance of the values less the
-- mean s, at least 0 (Efron and Morris 1975), over those that have an interval. A value without an interval may
-- vary by any amount: it is shrunk to m, and comes after others of the same shrunken value.
-- Where no scorer judged any, is_best and the figures are null: $n features are drawn, with what stands for each.
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
unjudged as (
    select feature, explainer, explanation
    from explanation_ranks
    where sae = $sae and rank = 1 and not exists (from judge)
    order by hash(draw_hash($seed, (sae, feature, 'shown')))
    limit $n
),
shown as (
    select from_best <= $n as is_best, if(is_best, from_best, from_worst) as nth, *
    from ranked
    where from_best <= $n or from_worst <= $n
    union all by name
    select * from unjudged
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
    shown.is_best,
    shown.feature,
    shown.explainer,
    shown.explanation,
    shown.scorer,
    shown.metric,
    shown.value,
    shown.low,
    shown.high,
    shown.shrunken,
    scores.f1 as rule_f1,
    strongest.token_ids,
    strongest.activations
from shown
left join scores on scores.explanation_id = shown.explanation_id and scores.scorer = 'rule_exact'
left join strongest on strongest.feature = shown.feature
order by shown.is_best desc, shown.nth, shown.feature
