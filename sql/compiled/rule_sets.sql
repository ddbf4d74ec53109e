-- One row per feature, target, size limit and purpose: the set of tokens with the best F1 on train documents.
-- purpose: whether the set is of the token itself, of the token before it, of tokens in a window before it, of
-- such under a condition on the token, or of tokens that must not come before. A class of tokens and a position
-- are sets of one.
-- F1(S) = 2 (C + sum c) / (W + sum w + n), with c hits and w occurrences of a token, and n hits in total. C and W
-- are those of the base that a set is subtracted from (c and w are then negative), else 0. Dinkelbach's iteration:
-- with the F1 f of the set so far, the best set is the tokens with 2c > f w of largest 2c - f w; f rises until it
-- converges, in three of four rounds. A discount on c while choosing guards against tokens that hit by chance.
-- Rows made by pipeline/compiled/rules/mining.py: rule_sets
with recursive candidates as (
    select
        feature,
        target,
        token_class,
        null::int as token_set,
        null::int as n_before,
        false as is_excluded,
        null::int as position_below,
        token_id,
        n_hits,
        n_tokens,
        n_targets,
        0e0 as n_base_hits,
        0e0 as n_base_tokens
    from rule_candidates
    union all by name
    select 'any' as target, context_candidates.*
    from context_candidates
),
numbered as (
    select
        *,
        dense_rank() over (
            order by feature, target, token_class, token_set, n_before, is_excluded, position_below
        ) as set_number
    from candidates
),
purposes as (
    select
        set_number,
        any_value(feature) as feature,
        any_value(target) as target,
        any_value(token_class) as token_class,
        any_value(token_set) as token_set,
        any_value(n_before) as n_before,
        any_value(is_excluded) as is_excluded,
        any_value(position_below) as position_below,
        any_value(n_targets) as n_targets,
        any_value(n_base_hits) as n_base_hits,
        any_value(n_base_tokens) as n_base_tokens,
        any_value(token_id) is null as is_one,
        max(
            2 * (n_base_hits + n_hits - $rules_discount) / (n_base_tokens + n_tokens + n_targets)
        ) as first_f1
    from numbered
    group by set_number
),
limits as (
    select unnest($rules_max_tokens::int[]) as max_tokens
),
rounds as (
    select
        0 as round,
        purposes.set_number,
        limits.max_tokens,
        purposes.first_f1 as f1,
        null::int[] as token_ids,
        null::double as n_hits,
        null::double as n_tokens
    from purposes
    cross join limits
    where
        case
            when purposes.is_one then limits.max_tokens = list_min($rules_max_tokens::int[])
            when purposes.n_before is not null then limits.max_tokens <= $rules_chosen_max_tokens
            else true
        end
    union all
    select
        round + 1,
        set_number,
        max_tokens,
        2 * (any_value(n_base_hits) + sum(n_hits - $rules_discount))
        / (any_value(n_base_tokens) + sum(n_tokens) + any_value(n_targets)),
        -- Only the last round's set is read.
        list(token_id order by place) filter (round = 4),
        any_value(n_base_hits) + sum(n_hits),
        any_value(n_base_tokens) + sum(n_tokens)
    from (
        select
            numbered.*,
            rounds.round,
            rounds.max_tokens,
            2 * (numbered.n_hits - $rules_discount) - rounds.f1 * numbered.n_tokens as gain,
            row_number() over (
                partition by rounds.set_number, rounds.max_tokens order by gain desc, token_id
            ) as place
        from rounds
        join numbered on numbered.set_number = rounds.set_number
        where rounds.round <= 4 and gain > 0
    )
    where place <= max_tokens
    group by round, set_number, max_tokens
)
select
    purposes.* exclude (set_number, is_one, first_f1, n_base_hits, n_base_tokens),
    rounds.max_tokens,
    rounds.token_ids,
    rounds.n_hits,
    rounds.n_tokens
from rounds
join purposes using (set_number)
where rounds.round = 5
