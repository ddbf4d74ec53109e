-- One row per question that judges a draft of an explanation on a train window, with the number of its prompt:
-- does the feature fire in this window? The windows are $n_judging activating ones and as many silent ones that no
-- explainer is shown; all drafts of a feature are asked about the same windows.
-- Positives and negatives are spread evenly over the prompts; within a prompt they are in the order of a hash.
with put as (
    select
        drafts.*,
        examples.example_id,
        examples.token_ids,
        examples.activations,
        examples.draw,
        examples.kind = 'activating' as label,
        md5(concat_ws(' ', drafts.explanation_id, 'train', examples.example_id)) as question_id
    from drafts
    join examples using (feature)
    where examples.is_judge and examples.draw <= $n_judging
),
spread as (
    select
        *,
        (row_number() over (partition by explanation_id, label order by example_id) - 0.5)
        / count(*) over (partition by explanation_id, label) as share_before
    from put
)
select
    explanation_id,
    feature,
    explanation,
    (row_number() over (partition by explanation_id order by share_before, example_id) - 1)
    // $questions_per_prompt as prompt,
    question_id,
    example_id,
    null::int[] as marked,
    label,
    token_ids,
    activations,
    draw
from spread
order by feature, explanation_id, prompt, example_id
