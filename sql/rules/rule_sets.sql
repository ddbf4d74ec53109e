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
        max(2 * (n_hits - $rules_discount) / (n_tokens + n_targets)) as f1,
        null::int[] as token_ids,
        null::double as n_hits,
        null::double as n_tokens,
        null::double as n_targets
    from rule_candidates, limits
    group by feature, target, max_tokens
    union all
    select
        round + 1,
        feature,
        target,
        max_tokens,
        2 * sum(n_hits - $rules_discount) / (sum(n_tokens) + any_value(n_targets)),
        -- Only the last round's set is read.
        list(token_id order by place) filter (round = $rules_rounds),
        sum(n_hits),
        sum(n_tokens),
        any_value(n_targets)
    from (
        select
            rule_candidates.*,
            rounds.round,
            rounds.max_tokens,
            2 * (rule_candidates.n_hits - $rules_discount) - rounds.f1 * rule_candidates.n_tokens as gain,
            row_number() over (
                partition by rounds.feature, rounds.target, rounds.max_tokens order by gain desc, token_id
            ) as place
        from rounds
        join rule_candidates on rule_candidates.feature = rounds.feature and rule_candidates.target = rounds.target
        where rounds.round <= $rules_rounds and gain > 0
    )
    where place <= max_tokens
    group by round, feature, target, max_tokens
)
select feature, target, max_tokens, token_ids, n_hits, n_tokens, n_targets
from rounds
where round = $rules_rounds + 1
