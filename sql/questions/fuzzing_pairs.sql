-- One row per activating test window that fuzzing may ask about: its marks, and the window that is marked alike
-- and wrong. Marked are the places above a share of the window's peak; its partner is another window of the
-- feature in which none of them fires. Windows are tried in an order, 20 at most: those nearest to the right one's
-- length first, so that length tells nothing; for every other pair those that hold a top token of the feature at
-- one of the places; then in one order by hash, documents in turn, in which each right one begins a place further
-- on, so that wrong marks stand in as many documents as there are. Where none of them will do, partner_id is null
-- and the pair is dropped, so that right and wrong marks have the same numbers and places. Pairs are taken in the
-- order of their right windows, those first whose wrong one is the first in its document.
with hashed as (
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
        )::bit as is_top,
        hash($seed::bigint, $sae, examples.feature::int, examples.example_id, 'fuzzing') as hash,
        row_number() over (partition by examples.feature, examples.doc_id order by hash, examples.example_id)
            as place_in_document
    from examples
    join feature_stats using (feature)
    where
        examples.role = 'test'
        and examples.draw <= if(examples.kind = 'activating', 1, 2) * $scoring_n_questions
),
windows as (
    select
        *,
        row_number() over (partition by feature order by place_in_document, hash, example_id) as number,
        count(*) over (partition by feature) as n_windows
    from hashed
),
rights as (
    select
        *,
        marked_places(activations, peak, $explaining_marked_share) as marked,
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
            {
                'partner_id': windows.example_id,
                'doc_id': windows.doc_id,
                'is_silent': bit_count(rights.is_marked & windows.fires) = 0
            },
            (
                abs(windows.n_tokens - rights.n_tokens),
                rights.draw % 2 = 1 or bit_count(rights.is_marked & windows.is_top) = 0,
                (windows.number + windows.n_windows - rights.draw) % windows.n_windows
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
),
joined as (
    select
        rights.feature,
        rights.example_id,
        rights.draw,
        rights.marked,
        found.tries[found.try]['partner_id'] as partner_id,
        found.try,
        if(
            found.try is null,
            null,
            row_number() over (
                partition by rights.feature, found.tries[found.try]['doc_id'] order by rights.draw
            )
        ) as place_in_document
    from rights
    left join found using (feature, example_id)
)
select
    $sae as sae,
    feature,
    example_id,
    row_number() over (partition by feature order by place_in_document nulls last, draw)::int as draw,
    marked,
    partner_id,
    try
from joined
order by feature, draw
