-- One row per explanation, scorer and role whose questions were drawn from all candidate slots of the role
-- (population_scorers, such as detection): its figures for all of these.
-- A stratum is a decile of activating slots or a kind of silent ones. A rate is sum W p / sum W over the strata
-- that have answers, W = n_slots, p the share of right answers by `question_weights`. p has the bounds of Wilson
-- with n by the design effect (rate_intervals), times Kish's (sum w)^2 / (n sum w^2) of the weights.
-- Over the silent kinds a rate's bounds are by stratified MOVER (Zou and Donner 2008), w = W / sum W, U likewise:
--   L = R - sqrt(sum w^2 (p - l)^2)
-- Deciles have too few answers each for that (tried: ten of 5 at a rate of 0.5: nominal 95 % covers 87 %): theirs
-- are Wilson's with Kish's effective n, (sum W)^2 / sum (W^2 / n), times the design effect of all positives.
-- A stratum with slots and without an answer has no weight, be it that no window of it was drawn; the shares say
-- what part of all slots is spoken for, and under min_coverage there is no figure. Precision r A / (r A + f S) and
-- F1 = 2 r A / (r A + f S + A), of A activating and S silent slots, rise with recall r and fall with the false-
-- positive rate f: their bounds are their values at the bounds of both.
with strata as (
    select
        sae,
        feature,
        role,
        kind = 'activating' as is_activating,
        if(kind = 'activating', 'decile ' || decile, kind) as rate,
        max(n_slots)::double as n_slots
    from examples
    where n_slots is not null
    group by sae, feature, role, kind, decile
),
index_strata as (
    select distinct sae, feature, role, kind, decile, n_slots
    from example_index
    -- Features of the batch have these ids: so the other rows are not read.
    where feature >= $first_feature and feature < $end_feature
),
totals as (
    -- The index has a row of every decile with slots, and counts silent slots of all kinds together.
    select sae, feature, role, kind = 'activating' as is_activating, sum(n_slots)::double as n_all_slots
    from index_strata
    group by sae, feature, role, kind = 'activating'
),
weighed as (
    select
        explanation_id,
        scorer,
        role,
        rate,
        sum((weight * is_right::int)::decimal(38, 12))::double / sum(weight::decimal(38, 12))::double as value,
        power(sum(weight::decimal(38, 12))::double, 2) / sum((weight * weight)::decimal(38, 12))::double / count(*)
            as kish_share
    from question_weights
    group by explanation_id, scorer, role, rate
),
stratum_rates as (
    select
        rate_intervals.explanation_id,
        rate_intervals.scorer,
        rate_intervals.role,
        rate_intervals.rate,
        rate_intervals.n,
        weighed.value,
        weighed.kish_share,
        $scoring_z::double * $scoring_z::double / (rate_intervals.n_effective * weighed.kish_share) as zz,
        sqrt(zz * weighed.value * (1 - weighed.value) + zz * zz / 4) as half,
        greatest(0, (weighed.value + zz / 2 - half) / (1 + zz)) as low,
        least(1, (weighed.value + zz / 2 + half) / (1 + zz)) as high
    from rate_intervals
    join weighed using (explanation_id, scorer, role, rate)
),
answered as (
    select
        sample_scores.explanation_id,
        sample_scores.scorer,
        sample_scores.role,
        strata.is_activating,
        strata.n_slots,
        totals.n_all_slots,
        stratum_rates.n,
        stratum_rates.value,
        stratum_rates.low,
        stratum_rates.high,
        strata.n_slots * strata.n_slots / (stratum_rates.n * stratum_rates.kish_share) as n_squared_over,
        if(stratum_rates.value is null, null, strata.n_slots) as n_answered_slots
    from sample_scores
    join strata using (sae, feature, role)
    join totals using (sae, feature, role, is_activating)
    left join stratum_rates
        on stratum_rates.explanation_id = sample_scores.explanation_id
        and stratum_rates.scorer = sample_scores.scorer
        and stratum_rates.role = sample_scores.role
        and stratum_rates.rate = strata.rate
        and sample_scores.is_covered
    where list_contains($scoring_population_scorers::text[], sample_scores.scorer)
),
summed as (
    -- Sums of decimals do not depend on the order of the threads.
    select
        explanation_id,
        scorer,
        role,
        is_activating,
        any_value(n_all_slots) as n_slots,
        coalesce(sum(n_answered_slots::decimal(38, 12))::double, 0) as n_answered_slots,
        coalesce(sum(n), 0)::bigint as n,
        sum((n_slots * value)::decimal(38, 12))::double as sum_value,
        sqrt(sum(power(n_slots * (value - low), 2)::decimal(38, 12))::double) as sum_below,
        sqrt(sum(power(n_slots * (high - value), 2)::decimal(38, 12))::double) as sum_above,
        sum(n_squared_over::decimal(38, 12))::double as sum_squared_over
    from answered
    group by explanation_id, scorer, role, is_activating
),
positives as (
    select explanation_id, scorer, role, n_effective / n as design_share
    from rate_intervals
    where rate = 'recall'
),
measured as (
    select
        summed.*,
        n_answered_slots / n_slots as share,
        if(
            n_answered_slots > 0 and share >= $scoring_min_coverage::double,
            least(1, sum_value / n_answered_slots),
            null
        ) as value,
        n_answered_slots * n_answered_slots / sum_squared_over * design_share as n_effective,
        $scoring_z::double as z,
        z * z / n_effective as zz,
        z * sqrt(value * (1 - value) / n_effective + zz / (4 * n_effective)) as half,
        if(is_activating, (value + zz / 2 - half) / (1 + zz), value - sum_below / n_answered_slots) as raw_low,
        if(is_activating, (value + zz / 2 + half) / (1 + zz), value + sum_above / n_answered_slots) as raw_high
    from summed
    left join positives using (explanation_id, scorer, role)
),
rates as (
    select *, if(raw_low < 0, 0, raw_low) as low, if(raw_high > 1, 1, raw_high) as high
    from measured
),
joined as (
    -- r: recall of the activating slots; s: specificity of the silent ones.
    select
        sample_scores.explanation_id,
        sample_scores.scorer,
        sample_scores.role,
        coalesce(recalls.n, 0) as n_positive,
        coalesce(specificities.n, 0) as n_negative,
        coalesce(recalls.n_slots, 0) as n_activating,
        coalesce(specificities.n_slots, 0) as n_silent,
        recalls.share as share_activating,
        specificities.share as share_silent,
        recalls.value as recall,
        recalls.low as recall_low,
        recalls.high as recall_high,
        1 - specificities.value as false_positive_rate,
        1 - specificities.high as false_positive_rate_low,
        1 - specificities.low as false_positive_rate_high
    from sample_scores
    left join rates as recalls
        on recalls.explanation_id = sample_scores.explanation_id
        and recalls.scorer = sample_scores.scorer
        and recalls.role = sample_scores.role
        and recalls.is_activating
    left join rates as specificities
        on specificities.explanation_id = sample_scores.explanation_id
        and specificities.scorer = sample_scores.scorer
        and specificities.role = sample_scores.role
        and not specificities.is_activating
    where list_contains($scoring_population_scorers::text[], sample_scores.scorer)
),
hits as (
    select
        *,
        n_activating * recall as hits,
        n_activating * recall_low as hits_low,
        n_activating * recall_high as hits_high,
        n_silent * false_positive_rate as alarms,
        n_silent * false_positive_rate_low as alarms_low,
        n_silent * false_positive_rate_high as alarms_high
    from joined
)
select
    *,
    (recall + 1 - false_positive_rate) / 2 as balanced_accuracy,
    balanced_accuracy
    - sqrt(power(recall - recall_low, 2) + power(false_positive_rate_high - false_positive_rate, 2)) / 2
        as balanced_accuracy_low,
    balanced_accuracy
    + sqrt(power(recall_high - recall, 2) + power(false_positive_rate - false_positive_rate_low, 2)) / 2
        as balanced_accuracy_high,
    if(hits + alarms > 0, hits / (hits + alarms), null) as precision,
    if(hits + alarms > 0, hits_low / (hits_low + alarms_high), null) as precision_low,
    if(hits + alarms > 0, hits_high / (hits_high + alarms_low), null) as precision_high,
    2 * hits / (hits + alarms + n_activating) as f1,
    2 * hits_low / (hits_low + alarms_high + n_activating) as f1_low,
    2 * hits_high / (hits_high + alarms_low + n_activating) as f1_high
from hits
