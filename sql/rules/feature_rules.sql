-- One row per feature, kind, size limit and target; figures on train documents, position 0 left out.
-- A feature's chosen rule is the smallest set, of at most chosen_max_tokens, whose F1 for any firing comes
-- within `parsimony` of the best such set.
with listed as (
    select feature, target, max_tokens, unnest(token_ids) as token_id, generate_subscripts(token_ids, 1) as place
    from rule_sets
),
words as (
    select
        feature,
        target,
        max_tokens,
        if(count(*) = 1, 'the token ', 'one of the tokens ')
        || string_agg(to_json(text), ', ' order by place) filter (place <= 20)
        || if(count(*) > 20, ' and ' || (count(*) - 20) || ' more', '') as rule
    from listed
    join tokens using (token_id)
    group by feature, target, max_tokens
),
scored as (
    select
        rule_sets.*,
        words.rule,
        n_hits / rule_sets.n_tokens as train_precision,
        n_hits / n_targets as train_recall,
        2 * n_hits / (rule_sets.n_tokens + n_targets) as train_f1,
        n_targets / (select sum(n_tokens) from train_tokens) as density
    from rule_sets
    join words using (feature, target, max_tokens)
),
best as (
    select feature, max(train_f1) as best_f1
    from scored
    where target = 'any' and max_tokens <= $rules_chosen_max_tokens
    group by feature
),
chosen as (
    select scored.feature, min(scored.max_tokens) as chosen_max_tokens
    from scored
    join best using (feature)
    where scored.target = 'any'
        and scored.max_tokens <= $rules_chosen_max_tokens
        and scored.train_f1 >= best.best_f1 - $rules_parsimony
    group by scored.feature
)
select
    $sae as sae,
    feature,
    'token' as kind,
    max_tokens,
    target,
    token_ids,
    null::int[] as previous_token_ids,
    rule,
    train_precision,
    train_recall,
    train_f1,
    2 * density / (1 + density) as always_f1,
    coalesce(target = 'any' and max_tokens = chosen_max_tokens, false) as is_chosen
from scored
left join chosen using (feature)
order by feature, target, max_tokens
