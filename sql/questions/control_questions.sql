-- One row per question that helps to set a scorer's threshold, with the number of its prompt: a feature of the
-- pilot with another feature's explanation (`control_pairs`), and a train window in which the feature itself fires
-- and the other does not, with its right marks where the scorer asks about marks ($has_marks). Each pair takes
-- $n_windows windows, the first by draw.
with fitting as (
    -- Windows in which the other feature fires.
    select distinct control_pairs.explanation_id, examples.example_id
    from control_pairs
    join examples on examples.feature = control_pairs.feature and examples.role = 'train'
    join activations
        on activations.sae = $sae
        and activations.feature = control_pairs.other_feature
        and activations.context_id = examples.context_id
        and activations.position >= examples.start
        and activations.position < examples.start + len(examples.token_ids)
),
possible as (
    select
        control_pairs.explanation_id,
        control_pairs.feature,
        control_pairs.explanation,
        examples.example_id,
        examples.token_ids,
        examples.draw,
        if(
            $has_marks, marked_positions(examples.activations, examples.peak, $explaining_marked_share), null
        ) as marked
    from control_pairs
    join examples using (feature)
    anti join fitting using (explanation_id, example_id)
    where examples.role = 'train' and examples.kind = 'activating' and not examples.is_judge
    -- Two features may fire in one window and borrow the same words.
    qualify
        row_number() over (
            partition by control_pairs.explanation, examples.token_ids, marked
            order by control_pairs.explanation_id, examples.example_id
        ) = 1
),
put as (
    select *
    from possible
    qualify row_number() over (partition by explanation_id order by draw, example_id) <= $n_windows
)
select
    explanation_id,
    feature,
    explanation,
    (row_number() over (partition by explanation_id order by example_id) - 1) // $questions_per_prompt as prompt,
    md5(concat_ws(' ', explanation_id, 'control', example_id)) as question_id,
    example_id,
    marked,
    false as label,
    token_ids
from put
order by feature, explanation_id, prompt, example_id
