-- One row per feature of `rule_bases`, condition on the token (none, a class, or one of the feature's two sets),
-- window, and token that must come before, or must not; and per position below which the feature may fire: hits
-- and tokens on train documents, position 0 left out.
-- Only candidates from which a rule above the floor's F1 f can be made: where the $rules_chosen_max_tokens largest
-- gains, 2 (hits - discount) - f tokens, add up to more than f (targets + base tokens) - 2 base hits. Of these,
-- the twice as many tokens with the largest gains. (In a window of several tokens two of them may occur at once,
-- and then their joint gain is not their sum: some such rules are missed.)
-- A token that must not come before is subtracted from a base: the hits and tokens of the set.
-- Rows made by pipeline/compiled/rules/mining.py: context_candidates
with fired as (
    select activations.feature, corpus_tokens.context_id, corpus_tokens.position, corpus_tokens.token_id
    from activations
    semi join rule_bases using (feature)
    join corpus_tokens using (token_index)
    where corpus_tokens.role = 'train' and corpus_tokens.position >= 1
),
targets as (
    select feature, count(*) as n_targets from fired group by feature
),
before as (
    -- Each token before a firing counts once, at its nearest occurrence.
    select
        fired.feature,
        fired.context_id,
        fired.position,
        corpus_tokens.token_id as previous_token_id,
        min(fired.position - corpus_tokens.position) as distance
    from fired
    join corpus_tokens
        on corpus_tokens.context_id = fired.context_id
        and corpus_tokens.position < fired.position
        and corpus_tokens.position >= fired.position - list_max($rules_windows::bigint[])
    group by fired.feature, fired.context_id, fired.position, corpus_tokens.token_id
),
windows as (
    select unnest($rules_windows::bigint[]) as n_before
),
feature_sets as (
    select feature, 1 as token_set, unnest(near_token_ids) as token_id from rule_bases
    union all
    select feature, 2 as token_set, unnest(wide_token_ids) as token_id from rule_bases
),
conditions as (
    select null::varchar as token_class, token_id from train_tokens
    union all
    select token_class, token_id from token_classes
),
occurrences as (
    -- Under a condition: the same for all features, or a feature's own set.
    select
        null::int as feature,
        conditions.token_class,
        null::int as token_set,
        train_windows.n_before,
        train_windows.previous_token_id,
        sum(train_windows.n_tokens) as n_tokens
    from conditions
    join train_windows using (token_id)
    group by conditions.token_class, train_windows.n_before, train_windows.previous_token_id
    union all
    select
        feature_sets.feature,
        null,
        feature_sets.token_set,
        train_windows.n_before,
        train_windows.previous_token_id,
        sum(train_windows.n_tokens)
    from feature_sets
    join train_windows using (token_id)
    group by feature_sets.feature, feature_sets.token_set, train_windows.n_before, train_windows.previous_token_id
),
under as (
    -- The firings under each condition.
    select fired.*, conditions.token_class, null::int as token_set
    from fired
    join conditions using (token_id)
    union all
    select fired.*, null, feature_sets.token_set
    from fired
    join feature_sets using (feature, token_id)
),
hits as (
    select
        under.feature,
        under.token_class,
        under.token_set,
        windows.n_before,
        before.previous_token_id,
        count(*) as n_hits
    from under
    join before using (feature, context_id, position)
    join windows on before.distance <= windows.n_before
    group by under.feature, under.token_class, under.token_set, windows.n_before, before.previous_token_id
),
bases as (
    -- Those whose hits alone would reach the floor.
    select
        under.feature,
        under.token_class,
        under.token_set,
        count(*) as n_base_hits,
        any_value(targets.n_targets) as n_targets,
        any_value(rule_bases.floor_f1) as floor_f1
    from under
    join targets using (feature)
    join rule_bases using (feature)
    group by under.feature, under.token_class, under.token_set
    having 2 * count(*) > any_value(rule_bases.floor_f1) * (count(*) + any_value(targets.n_targets))
),
set_tokens as (
    select feature_sets.feature, feature_sets.token_set, sum(train_tokens.n_tokens) as n_base_tokens
    from feature_sets
    join train_tokens using (token_id)
    group by feature_sets.feature, feature_sets.token_set
),
signed as (
    select
        bases.* exclude (n_base_hits),
        hits.n_before,
        false as is_excluded,
        hits.previous_token_id,
        hits.n_hits,
        occurrences.n_tokens,
        0 as n_base_hits,
        0 as n_base_tokens,
        2 * (hits.n_hits - $rules_discount) - bases.floor_f1 * occurrences.n_tokens as gain
    from bases
    join hits
        on hits.feature = bases.feature
        and hits.token_class is not distinct from bases.token_class
        and hits.token_set is not distinct from bases.token_set
    join occurrences
        on occurrences.feature is not distinct from if(bases.token_set is null, null, bases.feature)
        and occurrences.token_class is not distinct from bases.token_class
        and occurrences.token_set is not distinct from bases.token_set
        and occurrences.n_before = hits.n_before
        and occurrences.previous_token_id = hits.previous_token_id
    where hits.n_hits >= $rules_min_support
    union all by name
    select
        bases.*,
        occurrences.n_before,
        true as is_excluded,
        occurrences.previous_token_id,
        -coalesce(hits.n_hits, 0) as n_hits,
        -occurrences.n_tokens as n_tokens,
        set_tokens.n_base_tokens,
        bases.floor_f1 * occurrences.n_tokens - 2 * (coalesce(hits.n_hits, 0) + $rules_discount) as gain
    from bases
    join set_tokens using (feature, token_set)
    join occurrences
        on occurrences.feature = bases.feature
        and occurrences.token_set = bases.token_set
        and occurrences.n_before = 1
    left join hits
        on hits.feature = bases.feature
        and hits.token_set = bases.token_set
        and hits.n_before = 1
        and hits.previous_token_id = occurrences.previous_token_id
    where occurrences.n_tokens >= $rules_min_support
),
ranked as (
    select
        *,
        row_number() over (
            partition by feature, token_class, token_set, n_before, is_excluded
            order by gain desc, previous_token_id
        ) as place
    from signed
    where gain > 0
),
hopeful as (
    select
        *,
        sum(if(place <= $rules_chosen_max_tokens, gain, 0)) over (
            partition by feature, token_class, token_set, n_before, is_excluded
        ) as total_gain
    from ranked
),
fired_below as (
    select fired.feature, powers.position_below, count(*) as n_hits
    from fired
    join (select 1 << unnest(range(16)) as position_below) as powers on fired.position < powers.position_below
    where powers.position_below < context_length()
    group by fired.feature, powers.position_below
),
placed_below as (
    select powers.position_below, sum(train_positions.n_tokens) as n_tokens
    from train_positions
    join (select 1 << unnest(range(16)) as position_below) as powers
        on train_positions.position < powers.position_below
    where train_positions.position >= 1
    group by powers.position_below
)
select
    feature,
    token_class,
    token_set,
    n_before::int as n_before,
    is_excluded,
    previous_token_id as token_id,
    null::int as position_below,
    n_hits::double as n_hits,
    n_tokens::double as n_tokens,
    n_targets::double as n_targets,
    n_base_hits::double as n_base_hits,
    n_base_tokens::double as n_base_tokens
from hopeful
where place <= 2 * $rules_chosen_max_tokens
    and total_gain > floor_f1 * (n_targets + n_base_tokens) - 2 * n_base_hits
union all
select
    fired_below.feature,
    null,
    null,
    null,
    false,
    null,
    fired_below.position_below::int,
    fired_below.n_hits::double,
    placed_below.n_tokens::double,
    targets.n_targets::double,
    0,
    0
from fired_below
join placed_below using (position_below)
join targets using (feature)
join rule_bases using (feature)
where fired_below.n_hits >= $rules_min_support
    and 2 * fired_below.n_hits > rule_bases.floor_f1 * (placed_below.n_tokens + targets.n_targets)
