-- One row per activating test window that fuzzing may ask about: its marks, and the window that is marked alike
-- and wrong. Marked are the places above a share of the window's peak; its partner is another window of the
-- feature in which none of them fires. Windows are tried in an order, 20 at most: those nearest to the right one's
-- length first, so that length tells nothing; for every other pair those that hold a top token of the feature at
-- one of the places; then by hash. Where none of them will do, partner_id is null and the pair is dropped, so that
-- right and wrong marks have the same numbers and places.
with windows as (
    select examples.*, feature_stats.top_tokens
    from examples
    join feature_stats using (feature)
    where
        examples.role = 'test'
        and examples.draw <= if(examples.kind = 'activating', 1, 2) * $scoring_n_questions
),
rights as (
    select
        *,
        list_filter(range(len(activations)), lambda p: activations[p + 1] > $explaining_marked_share * peak)::int[]
            as marked
    from windows
    where kind = 'activating'
),
pairs as (
    select
        rights.feature,
        rights.example_id,
        windows.example_id as partner_id,
        rights.marked[-1] < len(windows.token_ids)
        and list_max(list_transform(rights.marked, lambda p: windows.activations[p + 1])) = 0 as is_silent_there,
        row_number() over (
            partition by rights.feature, rights.example_id
            order by
                abs(len(windows.token_ids) - len(rights.token_ids)),
                rights.draw % 2 = 0 and list_has_any(
                    list_transform(rights.marked, lambda p: windows.token_ids[p + 1]),
                    list_transform(windows.top_tokens, lambda t: t.token_id)
                ) desc,
                hash($seed::bigint, $sae, rights.feature::int, rights.example_id, windows.example_id, 'fuzzing'),
                windows.example_id
        ) as try
    from rights
    join windows on windows.feature = rights.feature and windows.example_id <> rights.example_id
),
found as (
    -- A window may serve several right ones; it is taken with different marks then.
    select feature, example_id, arg_min(partner_id, try) as partner_id, min(try) as try
    from pairs
    where try <= 20 and is_silent_there
    group by feature, example_id
)
select
    $sae as sae,
    rights.feature,
    rights.example_id,
    rights.draw,
    rights.marked,
    found.partner_id,
    found.try
from rights
left join found using (feature, example_id)
order by rights.feature, rights.draw
