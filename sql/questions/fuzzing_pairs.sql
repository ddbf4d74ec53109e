-- One row per activating test window that fuzzing may ask about: its marks, and the window that is marked alike and
-- wrong. Marked are the places above a share of the window's peak; its partner is another window of the feature in
-- which none of them fires. Windows are tried in an order, 20 at most: those nearest to the right one's length
-- first, so that length tells nothing; for every other pair those that hold a top token of the feature at one of
-- the places; then by hash. Where none of them will do, partner_id is null and the pair is dropped, so that right
-- and wrong marks have the same numbers and places.
with windows as (
    select x.*, s.top_tokens
    from examples as x
    join feature_stats as s using (feature)
    where x.role = 'test'
),
rights as (
    select
        *,
        list_filter(range(len(activations)), lambda p: activations[p + 1] > $explaining_marked_share * peak)::int[]
            as marked
    from windows
    where kind = 'activating' and draw <= $scoring_n_questions
),
pairs as (
    select
        r.feature,
        r.example_id,
        w.example_id as partner_id,
        r.marked[-1] < len(w.token_ids)
            and list_max(list_transform(r.marked, lambda p: w.activations[p + 1])) = 0 as is_silent_there,
        row_number() over (
            partition by r.feature, r.example_id
            order by
                abs(len(w.token_ids) - len(r.token_ids)),
                r.draw % 2 = 0 and list_has_any(
                    list_transform(r.marked, lambda p: w.token_ids[p + 1]),
                    list_transform(w.top_tokens, lambda t: t.token_id)
                ) desc,
                hash($seed::bigint, $sae, r.feature::int, r.example_id, w.example_id, 'fuzzing'),
                w.example_id
        ) as try
    from rights as r
    join windows as w on w.feature = r.feature and w.example_id <> r.example_id
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
    r.feature,
    r.example_id,
    r.draw,
    r.marked,
    f.partner_id,
    f.try
from rights as r
left join found as f using (feature, example_id)
order by r.feature, r.draw
