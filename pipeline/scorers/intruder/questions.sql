-- One row per question: which of these test windows of a feature does not belong?
-- Windows of a decile are taken n_choices at a time, in the order of their draw, the deciles in turn. The last of
-- them is replaced by the intruder, which takes over the number and positions of its marks, so that these give
-- nothing away. The intruder is a silent window long enough for the marks; or with intruder: other_decile, a
-- window of another decile with its own marks, as close in number as can be had. Windows of similar length and
-- number of marks come first, then a hash decides.
-- strata: the decile of the other windows. A decile with too few windows has no question.
with windows as (
    select
        feature,
        example_id,
        kind = 'activating' as is_active,
        decile,
        draw,
        token_ids,
        if(is_active, marked_positions(activations, peak, $explaining_marked_share), null) as marked
    from examples
    where role = 'test' and draw <= if(kind = 'activating', $scoring_intruder_n_windows, 2 * $scoring_n_questions)
),
placed as (
    select *, row_number() over (partition by feature, decile order by draw) - 1 as number
    from windows
    where is_active
),
grouped as (
    select
        *,
        number // $scoring_intruder_n_choices as group_number,
        number % $scoring_intruder_n_choices = $scoring_intruder_n_choices - 1 as is_replaced
    from placed
    qualify count(*) over (partition by feature, decile, group_number) = $scoring_intruder_n_choices
),
replaced as (
    select *, row_number() over (partition by feature order by group_number, decile) as draw_of_question
    from grouped
    where is_replaced
    qualify draw_of_question <= $scoring_intruder_n_questions
),
intruders as (
    select
        replaced.feature,
        replaced.decile,
        replaced.group_number,
        replaced.draw_of_question,
        windows.example_id,
        windows.token_ids,
        coalesce(windows.marked, replaced.marked) as marked
    from replaced
    join windows
        on windows.feature = replaced.feature
        and if(
            $scoring_intruder_intruder = 'silent',
            not windows.is_active and len(windows.token_ids) > replaced.marked[-1],
            windows.is_active and windows.decile <> replaced.decile
        )
    qualify row_number() over (
            partition by replaced.feature, replaced.decile, replaced.group_number
            order by
                abs(len(windows.token_ids) - len(replaced.token_ids)),
                abs(len(coalesce(windows.marked, replaced.marked)) - len(replaced.marked)),
                draw_hash($seed, ($sae, replaced.feature, replaced.example_id, windows.example_id, 'intruder')),
                windows.example_id
        ) = 1
),
shown as (
    select feature, decile, group_number, example_id, token_ids, marked from intruders
    union all
    select feature, decile, group_number, example_id, token_ids, marked from grouped where not is_replaced
),
listed as (
    -- A hash of a hash: see draw_hash.
    select
        feature,
        decile,
        group_number,
        list(
            {'example_id': example_id, 'token_ids': token_ids, 'marked': marked}
            order by hash(draw_hash($seed, ($sae, feature, decile, group_number, example_id, 'order')))
        ) as windows
    from shown
    group by feature, decile, group_number
)
select
    scored_explanations.explanation_id,
    scored_explanations.feature,
    md5(concat_ws(' ', scored_explanations.explanation_id, 'intruder', decile, group_number, intruders.example_id))
        as question_id,
    intruders.example_id,
    intruders.marked,
    true as label,
    intruders.draw_of_question as draw,
    ['decile ' || decile] as strata,
    listed.windows,
    list_position(list_transform(listed.windows, lambda each: each.example_id), intruders.example_id)
        as intruder_number
from scored_explanations
join intruders using (feature)
join listed using (feature, decile, group_number)
where scored_explanations.explainer = 'empty'
order by scored_explanations.feature, scored_explanations.explanation_id, draw
