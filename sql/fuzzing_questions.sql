-- One row per fuzzing question: are the marked tokens of this test window the ones on which the feature fires?
-- Right: an activating window, marked above a share of its peak. Wrong: the same places marked in another window
-- of the feature in which none of them fires. Windows are tried in an order, 20 at most: those nearest to the right
-- one's length first, so that length tells nothing; for every other pair those that hold a top token of the
-- feature at one of the places; then by hash. A right window without such a partner is dropped, so that both
-- have the same numbers and places of marks.
with windows as (
    select x.*, s.top_tokens
    from examples as x
    join feature_stats as s using (feature)
    where x.role = 'test' and x.feature in (select feature from scored_explanations)
),
rights as (
    select
        *,
        list_filter(range(len(activations)), lambda p: activations[p + 1] > $explaining_marked_share * peak)::int[]
            as places
    from windows
    where kind = 'activating' and draw <= $scoring_n_questions
),
pairs as (
    select
        r.feature,
        r.example_id as right_id,
        r.places,
        r.draw as right_draw,
        w.example_id as wrong_id,
        r.places[-1] < len(w.token_ids)
            and list_max(list_transform(r.places, lambda p: w.activations[p + 1])) = 0 as is_silent_there,
        row_number() over (
            partition by r.feature, r.example_id
            order by
                abs(len(w.token_ids) - len(r.token_ids)),
                r.draw % 2 = 0 and list_has_any(
                    list_transform(r.places, lambda p: w.token_ids[p + 1]),
                    list_transform(w.top_tokens, lambda t: t.token_id)
                ) desc,
                hash($seed::bigint, $sae, r.feature::int, r.example_id, w.example_id, 'fuzzing'),
                w.example_id
        ) as try
    from rights as r
    join windows as w on w.feature = r.feature and w.example_id <> r.example_id
),
partners as (
    -- A window may serve several right ones; it is taken with different marks then.
    select feature, right_id, places, arg_min(wrong_id, try) as wrong_id
    from pairs
    where try <= 20 and is_silent_there
    group by feature, right_id, places
),
questions as (
    select feature, right_id as example_id, places as marked, true as label from partners
    union all
    select feature, wrong_id, places, false from partners
)
select
    e.explanation_id,
    e.feature,
    md5(concat_ws(' ', e.explanation_id, 'fuzzing', q.example_id, q.marked, q.label)) as question_id,
    q.example_id,
    q.marked,
    q.label
from scored_explanations as e
join questions as q using (feature)
-- Two right windows with equal places may find the same wrong one.
qualify row_number() over (partition by e.explanation_id, q.example_id, q.marked) = 1
order by e.feature, e.explanation_id, question_id
