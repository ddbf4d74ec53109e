-- One row per activating test window that fuzzing may ask about: its marks, and the window that is marked alike
-- and wrong. Marked are the places above a share of the window's peak; its partner is another window of the
-- feature in which none of them fires. Windows are tried in an order, 20 at most: those nearest to the right one's
-- length first, so that length tells nothing; for every other pair those that hold a top token of the feature at
-- one of the places; then by hash. Where none of them will do, partner_id is null and the pair is dropped, so that
-- right and wrong marks have the same numbers and places.
-- A window's places are bits, because every two windows of a feature are compared.
with windows as (
    select
        examples.*,
        len(examples.token_ids) as n_tokens,
        -- Behind a window's end nothing is silent.
        array_to_string(
            list_transform(
                range($sampling_slot_tokens), lambda p: (coalesce(examples.activations[p + 1], 1) > 0)::int
            ),
            ''
        )::bit as fires,
        list_transform(feature_stats.top_tokens, lambda t: t.token_id) as top_ids,
        array_to_string(
            list_transform(
                range($sampling_slot_tokens),
                lambda p: coalesce(list_contains(top_ids, examples.token_ids[p + 1]), false)::int
            ),
            ''
        )::bit as is_top
    from examples
    join feature_stats using (feature)
    where
        examples.role = 'test'
        and examples.draw <= if(examples.kind = 'activating', 1, 2) * $scoring_n_questions
),
rights as (
    select
        *,
        list_filter(range(n_tokens), lambda p: activations[p + 1] > $explaining_marked_share * peak)::int[]
            as marked,
        array_to_string(
            list_transform(range($sampling_slot_tokens), lambda p: list_contains(marked, p)::int), ''
        )::bit as is_marked
    from windows
    where kind = 'activating'
),
tried as (
    select
        rights.feature,
        rights.example_id,
        arg_min(
            {'partner_id': windows.example_id, 'is_silent': bit_count(rights.is_marked & windows.fires) = 0},
            (
                abs(windows.n_tokens - rights.n_tokens),
                rights.draw % 2 = 1 or bit_count(rights.is_marked & windows.is_top) = 0,
                hash($seed::bigint, $sae, rights.feature::int, rights.example_id, windows.example_id, 'fuzzing'),
                windows.example_id
            ),
            20
        ) as tries
    from rights
    join windows on windows.feature = rights.feature and windows.example_id <> rights.example_id
    where len(rights.marked) > 0
    group by rights.feature, rights.example_id
),
found as (
    -- A window may serve several right ones; it is taken with different marks then.
    select *, list_position(list_transform(tries, lambda t: t['is_silent']), true) as try
    from tried
)
select
    $sae as sae,
    rights.feature,
    rights.example_id,
    rights.draw,
    rights.marked,
    found.tries[found.try]['partner_id'] as partner_id,
    found.try
from rights
left join found using (feature, example_id)
order by rights.feature, rights.draw
