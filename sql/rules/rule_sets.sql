-- One row per feature, target and size limit: the token set of best F1 on train documents.
-- F1(S) = 2 sum c / (sum w + n), c hits and w occurrences of a token, n all hits. Dinkelbach's iteration: with
-- the F1 f of the set so far, the best set is the tokens with 2c > f w of largest 2c - f w; f rises until it
-- stays. A discount on c while choosing guards against tokens that hit by chance.
with recursive limits as (
    select unnest($rules_max_tokens::int[]) as max_tokens
),
rounds as (
    select
        0 as round,
        feature,
        target,
        max_tokens,
        max(2 * (n_hits - $rules_discount) / (n_tokens + n_targets)) as f1
    from rule_candidates, limits
    group by feature, target, max_tokens
    union all
    select
        round + 1,
        feature,
        target,
        max_tokens,
        2 * sum(n_hits - $rules_discount) / (sum(n_tokens) + any_value(n_targets))
    from (
        select
            rounds.round,
            rounds.feature,
            rounds.target,
            rounds.max_tokens,
            rule_candidates.n_hits,
            rule_candidates.n_tokens,
            rule_candidates.n_targets,
            row_number() over (
                partition by rounds.feature, rounds.target, rounds.max_tokens
                order by 2 * (n_hits - $rules_discount) - f1 * n_tokens desc, token_id
            ) as place
        from rounds
        join rule_candidates on rule_candidates.feature = rounds.feature and rule_candidates.target = rounds.target
        where round < $rules_rounds and 2 * (n_hits - $rules_discount) > f1 * n_tokens
    )
    where place <= max_tokens
    group by round, feature, target, max_tokens
),
chosen_tokens as (
    select
        rounds.feature,
        rounds.target,
        rounds.max_tokens,
        rule_candidates.token_id,
        rule_candidates.n_hits,
        rule_candidates.n_tokens,
        rule_candidates.n_targets,
        row_number() over (
            partition by rounds.feature, rounds.target, rounds.max_tokens
            order by 2 * (n_hits - $rules_discount) - f1 * n_tokens desc, token_id
        ) as place
    from rounds
    join rule_candidates on rule_candidates.feature = rounds.feature and rule_candidates.target = rounds.target
    where round = $rules_rounds and 2 * (n_hits - $rules_discount) > f1 * n_tokens
)
select
    feature,
    target,
    max_tokens,
    list(token_id order by place) as token_ids,
    sum(n_hits) as n_hits,
    sum(n_tokens) as n_tokens,
    any_value(n_targets) as n_targets
from chosen_tokens
where place <= max_tokens
group by feature, target, max_tokens
