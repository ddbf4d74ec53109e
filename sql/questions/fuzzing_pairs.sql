-- One row per activating test window that fuzzing may ask about: its marks, and its partner, a window that carries
-- the same marks wrongly. Marked are the positions above a share of the window's peak; the partner is another
-- window of the feature in which none of these positions fires.
-- At most 20 windows are tried as a partner, in this order: those nearest in length to the right window first, so
-- that length gives nothing away; for every other pair, those with a top token of the feature at one of the marked
-- positions; then one order by hash, documents in turn, in which each right window starts one window further on,
-- so that wrong marks spread over as many documents as possible. Where none of them qualifies, partner_id is null
-- and the pair is dropped, so that right and wrong marks have the same numbers and positions.
-- Pairs are taken in the order of their right windows, those first whose partner is the first from its document.
with hashed as (
    select
        examples.*,
        len(examples.token_ids) as n_tokens,
        -- Positions past a window's end do not count as silent.
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
        draw_hash($seed, ($sae, examples.feature, examples.example_id, 'fuzzing')) as hash,
        row_number() over (partition by examples.feature, examples.doc_id order by hash, examples.example_id)
            as turn_in_document
    from examples
    join feature_stats using (feature)
    where
        examples.role = 'test'
        and examples.draw <= if(examples.kind = 'activating', 1, 2) * $scoring_n_questions
),
windows as (
    select
        *,
        row_number() over (partition by feature order by turn_in_document, hash, example_id) as number,
        count(*) over (partition by feature) as n_windows
    from hashed
),
rights as (
    select
        *,
        marked_positions(activations, peak, $explaining_marked_share) as marked,
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
    -- A window may be the partner of several right windows, with different marks.
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
        ) as turn_in_document
    from rights
    left join found using (feature, example_id)
)
select
    $sae as sae,
    feature,
    example_id,
    row_number() over (partition by feature order by turn_in_document nulls last, draw)::int as draw,
    marked,
    partner_id,
    try
from joined
order by feature, draw
