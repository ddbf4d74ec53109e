-- One row per proved rule and role: 'the rule matches' against 'the feature fires', on every token of the role's
-- documents from position 1 on. The figures are counts over the whole corpus of that role; the intervals say how
-- they would vary with other documents.
-- Tokens of one document are correlated, so documents are the unit: a figure is a ratio R = sum y / sum x over k
-- documents, with variance k / (k - 1) sum (y - R x)^2 / (sum x)^2 by linearisation (Cochran 1977, section 6.3).
-- Its bounds are those of the logit, with error se / (R (1 - R)), at Student's quantile (student_t) of
-- n = (sum x)^2 / sum x^2, Kish's effective number of documents, and at least 6: a few long documents may decide a
-- figure. Where every document agrees (variance 0), Wilson's interval with this n is used. For a rule that was
-- never wrong, the false positive rate is at most what the lower bound of its precision leaves:
--   (1 - precision_low) n_predicted / n_silent
-- TPR and TNR are combined by MOVER. There is no interval with fewer than 10 documents in which the feature fires,
-- or fewer than 10 that the ratio rests on.
-- In simulations of recall, precision and F1 with 10 to 40 documents, 95 % intervals cover at least 93 % where x
-- varies little (coefficient of variation 0.8). Where it varies as in the demo (1.5), they cover 94 % on average,
-- and 87 % at least: where nearly all documents agree and a few do not (97 % right, correlated by 0.3). With n as
-- the number of documents it is 92 and 85 %.
with corpus as (
    select
        role,
        count(*) as n_documents,
        sum(n_tokens) as n_tokens,
        sum(n_tokens * n_tokens) as n_tokens_squared
    from corpus_documents
    group by role
),
summed as (
    -- Whole numbers, so that no sum depends on its order. x of TNR is n_tokens - n_fired in every document; where
    -- neither the feature fires nor the rule says so, it is all tokens.
    select
        proved_rules.rule_id,
        proved_rules.feature,
        corpus.role,
        corpus.n_tokens::double as n_tokens,
        corpus.n_documents::double as n_documents,
        coalesce(n_fired_documents, 0)::double as n_fired_documents,
        coalesce(n_predicted_documents, 0)::double as n_predicted_documents,
        coalesce(n_either_documents, 0)::double as n_either_documents,
        coalesce(n_fired, 0)::double as n_fired,
        coalesce(n_predicted, 0)::double as n_predicted,
        coalesce(n_right, 0)::double as n_right,
        coalesce(n_predicted - n_right, 0)::double as n_wrong,
        right_right::double as right_right,
        right_fired::double as right_fired,
        fired_fired::double as fired_fired,
        right_predicted::double as right_predicted,
        predicted_predicted::double as predicted_predicted,
        right_either::double as right_either,
        either_either::double as either_either,
        coalesce(wrong_wrong, 0)::double as wrong_wrong,
        coalesce(wrong_silent, 0)::double as wrong_silent,
        (corpus.n_tokens_squared + coalesce(silent_silent - tokens_tokens, 0))::double as silent_silent
    from proved_rules
    cross join corpus
    left join rule_sums on rule_sums.rule_id = proved_rules.rule_id and rule_sums.role = corpus.role
    where corpus.n_tokens > 0
),
ratios as (
    select
        *,
        n_tokens - n_fired as n_silent,
        -- y, x, sum y y, sum x y and sum x x of each ratio, and its number of documents
        unnest([
            {
                'metric': 'recall', 'y': n_right, 'x': n_fired, 'yy': right_right, 'xy': right_fired,
                'xx': fired_fired, 'k': n_fired_documents
            },
            {
                'metric': 'specificity', 'y': n_silent - n_wrong, 'x': n_silent, 'yy': silent_silent
                - 2 * wrong_silent + wrong_wrong, 'xy': silent_silent - wrong_silent, 'xx': silent_silent,
                'k': n_documents
            },
            {
                'metric': 'precision', 'y': n_right, 'x': n_predicted, 'yy': right_right, 'xy': right_predicted,
                'xx': predicted_predicted, 'k': n_predicted_documents
            },
            {
                'metric': 'f1', 'y': 2 * n_right, 'x': n_fired + n_predicted, 'yy': 4 * right_right,
                'xy': 2 * right_either, 'xx': either_either, 'k': n_either_documents
            }
        ], recursive := true)
    from summed
),
errors as (
    select
        *,
        if(x > 0, y / x, null) as ratio,
        sqrt(greatest(0, yy - 2 * ratio * xy + ratio * ratio * xx) * k / (k - 1)) / x as error,
        $scoring_z::double as z,
        if(x > 0, greatest(x * x / xx, 6), null) as k_effective,
        student_t(z, k_effective) as t,
        n_fired_documents >= 10 and k >= 10 and x > 0 as is_bounded,
        ratio in (0, 1) or error < 1e-9 as is_by_wilson,
        if(ratio in (0, 1), null, ln(ratio / (1 - ratio))) as logit,
        t * error / (ratio * (1 - ratio)) as logit_half
    from ratios
),
own_bounds as (
    select
        *,
        if(is_by_wilson, wilson_low(ratio, k_effective, z), 1 / (1 + exp(logit_half - logit))) as lower,
        if(is_by_wilson, wilson_high(ratio, k_effective, z), 1 / (1 + exp(-logit - logit_half))) as upper,
        if(is_bounded, least(ratio, lower), null) as own_low,
        if(is_bounded, greatest(ratio, upper), null) as own_high
    from errors
),
bounds as (
    select
        *,
        -- Of a rule that was never wrong, from its precision's.
        if(
            metric = 'specificity' and n_wrong = 0,
            greatest(own_low, coalesce(
                1 - (1 - max(own_low) filter (metric = 'precision') over of_rule) * n_predicted / n_silent, own_low
            )),
            own_low
        ) as low,
        own_high as high
    from own_bounds
    window of_rule as (partition by rule_id, role)
)
select
    precisions.rule_id,
    precisions.feature,
    precisions.role,
    precisions.n_tokens::bigint as n_tokens,
    precisions.n_fired::bigint as n_fired,
    precisions.n_predicted::bigint as n_predicted,
    precisions.n_right::bigint as n_right,
    recalls.k::bigint as n_fired_documents,
    (recalls.ratio + specificities.ratio) / 2 as balanced_accuracy,
    mover_low(recalls.ratio, recalls.low, specificities.ratio, specificities.low) as balanced_accuracy_low,
    mover_high(recalls.ratio, recalls.high, specificities.ratio, specificities.high) as balanced_accuracy_high,
    precisions.ratio as precision,
    precisions.low as precision_low,
    precisions.high as precision_high,
    recalls.ratio as recall,
    recalls.low as recall_low,
    recalls.high as recall_high,
    1 - specificities.ratio as false_positive_rate,
    1 - specificities.high as false_positive_rate_low,
    1 - specificities.low as false_positive_rate_high,
    f1_scores.ratio as f1,
    f1_scores.low as f1_low,
    f1_scores.high as f1_high,
    2 * precisions.n_fired / (precisions.n_tokens + precisions.n_fired) as always_f1,
    case
        when precisions.n_fired = 0 then 'the feature fires in no ' || precisions.role || ' document'
        when precisions.n_silent = 0 then 'the feature fires on every ' || precisions.role || ' token'
        when precisions.n_predicted = 0
        then 'no precision: the rule says so in no ' || precisions.role || ' document'
    end as reason
from bounds as precisions  -- noqa: AL07
join bounds as recalls using (rule_id, role)
join bounds as specificities using (rule_id, role)
join bounds as f1_scores using (rule_id, role)
where precisions.metric = 'precision'
    and recalls.metric = 'recall'
    and specificities.metric = 'specificity'
    and f1_scores.metric = 'f1'
