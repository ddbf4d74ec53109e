-- One row per feature, kind, size limit and target; figures are of train documents, position 0 left out.
-- The chosen rule of a feature is the shortest of those with target `any` and at most chosen_max_tokens in a
-- clause whose F1, minus the cost of its length, is within `parsimony` of the best. Each token, class or position
-- that a rule names has to add `token_cost` hits.
with counted as (
    select
        mined_rules.* exclude (n_hits, n_tokens),
        rule_words.rule,
        coalesce(window_counts.n_right, mined_rules.n_hits) as n_hits,
        coalesce(window_counts.n_predicted, mined_rules.n_tokens) as n_tokens,
        coalesce(len(token_ids), 0) + coalesce(len(previous_token_ids), 0)
        + (token_class is not null)::int + (previous_class is not null)::int + (position_below is not null)::int
            as n_named
    from mined_rules
    join rule_words using (rule_id)
    left join window_counts using (rule_id)
),
scored as (
    select
        *,
        n_hits / n_tokens as train_precision,
        n_hits / n_targets as train_recall,
        2 * n_hits / (n_tokens + n_targets) as train_f1,
        2 * (n_hits - $rules_token_cost * n_named) / (n_tokens + n_targets) as paid_f1,
        target = 'any' and max_tokens <= $rules_chosen_max_tokens as is_eligible,
        n_targets / (select sum(n_tokens) from train_tokens) as density
    from counted
),
best as (
    select *, max(paid_f1) filter (is_eligible) over (partition by feature) as best_f1
    from scored
),
chosen as (
    select rule_id
    from best
    where is_eligible and paid_f1 >= best_f1 - $rules_parsimony
    qualify row_number() over (partition by feature order by n_named, paid_f1 desc, max_tokens, rule_id) = 1
)
select
    $sae as sae,
    feature,
    kind,
    max_tokens,
    target,
    token_ids,
    previous_token_ids,
    rule,
    train_precision,
    train_recall,
    train_f1,
    2 * density / (1 + density) as always_f1,
    chosen.rule_id is not null as is_chosen,
    token_class,
    previous_class,
    n_before,
    is_excluded,
    position_below
from best
left join chosen using (rule_id)
order by feature, kind, target, max_tokens
