-- One row per explanation and scorer whose questions were drawn from all candidate slots of test documents
-- (population_scorers, such as detection): its figures for all of these slots.
-- A stratum is a decile of activating slots or a kind of silent ones. A rate is sum W p / sum W over the strata
-- that have answers, with W = n_slots and p the share of right answers by `question_weights`. The bounds of p are
-- Wilson's with n by the design effect (rate_intervals), times Kish's (sum w)^2 / (n sum w^2) of the weights.
-- Over the silent kinds a rate's bounds are by stratified MOVER (Zou and Donner 2008), with w = W / sum W; U
-- likewise:
--   L = R - sqrt(sum w^2 (p - l)^2)
-- Deciles have too few answers each for that (tried: with ten deciles of 5 answers at a rate of 0.5, nominal 95 %
-- covers 87 %). Their bounds are Wilson's with Kish's effective n, (sum W)^2 / sum (W^2 / n), times the design
-- effect of all positives.
-- A stratum without answers gets no weight, even if none of its windows were drawn; share_* is the fraction of
-- slots in strata that have answers, and below min_coverage there is no figure.
-- Precision r A / (r A + f S) and F1 = 2 r A / (r A + f S + A), with A activating and S silent slots, rise with
-- recall r and fall with the false-positive rate f: their bounds are their values at the bounds of both.
with strata as (
    select
        sae,
        feature,
        kind = 'activating' as is_activating,
        stratum_name(kind, decile) as rate,
        max(n_slots)::double as n_slots
    from examples
    where role = 'test' and n_slots is not null
    group by sae, feature, kind, decile
),
index_deciles as (
    select distinct sae, feature, decile, n_slots
    from example_index
    -- The batch's features have these ids, so other rows are not read.
    where role = 'test' and feature >= $first_feature and feature < $end_feature
),
activating as (
    -- The index has a row for every decile with slots.
    select sae, feature, sum(n_slots)::double as n_slots
    from index_deciles
    group by sae, feature
),
totals as (
    select sae, feature, true as is_activating, n_slots as n_all_slots
    from activating
    union all
    -- Of all candidate slots, the feature is silent in the others.
    select features.sae, features.feature, false, candidates.n_slots - coalesce(activating.n_slots, 0)
    from (select distinct sae, feature from strata) as features
    cross join (
        select count(*)::double as n_slots from slots where role = 'test' and is_candidate
    ) as candidates
    left join activating using (sae, feature)
),
weighed as (
    select
        explanation_id,
        scorer,
        rate,
        exact_sum(weight * is_right::int) / exact_sum(weight) as value,
        power(exact_sum(weight), 2) / exact_sum(weight * weight) / count(*) as kish_share
    from question_weights
    group by explanation_id, scorer, rate
),
stratum_rates as (
    select
        rate_intervals.explanation_id,
        rate_intervals.scorer,
        rate_intervals.rate,
        rate_intervals.n,
        weighed.value,
        weighed.kish_share,
        rate_intervals.n_effective * weighed.kish_share as n_weighed,
        wilson_low(weighed.value, n_weighed, $scoring_z::double) as low,
        wilson_high(weighed.value, n_weighed, $scoring_z::double) as high
    from rate_intervals
    join weighed using (explanation_id, scorer, rate)
),
answered as (
    -- n_squared_over: W^2 / n of the stratum, with n by Kish's share.
    select
        sample_scores.explanation_id,
        sample_scores.scorer,
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
    join strata using (sae, feature)
    join totals using (sae, feature, is_activating)
    left join stratum_rates
        on stratum_rates.explanation_id = sample_scores.explanation_id
        and stratum_rates.scorer = sample_scores.scorer
        and stratum_rates.rate = strata.rate
        and sample_scores.is_covered
    where list_contains($scoring_population_scorers::text[], sample_scores.scorer)
),
summed as (
    select
        explanation_id,
        scorer,
        is_activating,
        any_value(n_all_slots) as n_slots,
        coalesce(exact_sum(n_answered_slots), 0) as n_answered_slots,
        coalesce(sum(n), 0)::bigint as n,
        exact_sum(n_slots * value) as sum_value,
        sqrt(exact_sum(power(n_slots * (value - low), 2))) as sum_below,
        sqrt(exact_sum(power(n_slots * (high - value), 2))) as sum_above,
        exact_sum(n_squared_over) as sum_squared_over
    from answered
    group by explanation_id, scorer, is_activating
),
positives as (
    select explanation_id, scorer, n_effective / n as design_share
    from rate_intervals
    where rate = 'recall'
),
measured as (
    select
        summed.*,
        n_answered_slots / n_slots as share,
        if(
            n_answered_slots > 0 and share >= $scoring_min_coverage::double,
            clamp(sum_value / n_answered_slots, 0, 1),
            null
        ) as value,
        n_answered_slots * n_answered_slots / sum_squared_over * design_share as n_effective
    from summed
    left join positives using (explanation_id, scorer)
),
rates as (
    select
        *,
        if(
            is_activating,
            wilson_low(value, n_effective, $scoring_z::double),
            clamp(value - sum_below / n_answered_slots, 0, 1)
        ) as low,
        if(
            is_activating,
            wilson_high(value, n_effective, $scoring_z::double),
            clamp(value + sum_above / n_answered_slots, 0, 1)
        ) as high
    from measured
),
joined as (
    -- r: recall of the activating slots; s: specificity of the silent ones.
    select
        sample_scores.explanation_id,
        sample_scores.scorer,
        coalesce(recalls.n, 0) as n_positive,
        coalesce(specificities.n, 0) as n_negative,
        coalesce(recalls.n_slots, 0) as n_activating,
        coalesce(specificities.n_slots, 0) as n_silent,
        recalls.share as share_activating,
        specificities.share as share_silent,
        recalls.value as recall,
        recalls.low as recall_low,
        recalls.high as recall_high,
        specificities.value as specificity,
        specificities.low as specificity_low,
        specificities.high as specificity_high,
        1 - specificities.value as false_positive_rate,
        1 - specificities.high as false_positive_rate_low,
        1 - specificities.low as false_positive_rate_high
    from sample_scores
    left join (from rates where is_activating) as recalls using (explanation_id, scorer)
    left join (from rates where not is_activating) as specificities using (explanation_id, scorer)
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
    * exclude (specificity, specificity_low, specificity_high),
    (recall + specificity) / 2 as balanced_accuracy,
    mover_low(recall, recall_low, specificity, specificity_low) as balanced_accuracy_low,
    mover_high(recall, recall_high, specificity, specificity_high) as balanced_accuracy_high,
    if(hits + alarms > 0, hits / (hits + alarms), null) as precision,
    if(hits + alarms > 0, hits_low / (hits_low + alarms_high), null) as precision_low,
    if(hits + alarms > 0, hits_high / (hits_high + alarms_low), null) as precision_high,
    2 * hits / (hits + alarms + n_activating) as f1,
    2 * hits_low / (hits_low + alarms_high + n_activating) as f1_low,
    2 * hits_high / (hits_high + alarms_low + n_activating) as f1_high
from hits
