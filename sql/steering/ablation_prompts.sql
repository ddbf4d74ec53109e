-- One row per selected feature and text in which it is ablated: the tokens of a context up to the peak of a test
-- window, for the first n_questions windows of the draw, in that order. Windows too early in their context for the
-- length are left out.
with peaks as (
    select
        examples.feature,
        examples.example_id,
        examples.draw,
        examples.context_id,
        examples.start + list_position(examples.activations, examples.peak) - 1 as position
    from examples
    semi join batch_features using (feature)
    where
        examples.role = 'test'
        and examples.kind = 'activating'
        and examples.draw <= $scoring_n_questions
),
drawn as (
    select
        peaks.feature,
        peaks.context_id,
        row_number() over (partition by peaks.feature order by peaks.draw, peaks.example_id) - 1 as prompt_id,
        $bos_token_id::int[] || contexts.token_ids[
            peaks.position + 2 - $scoring_intervention_prompt_tokens + len($bos_token_id::int[])
            : peaks.position + 1
        ] as token_ids
    from peaks
    join contexts using (context_id)
    where peaks.position + 1 >= $scoring_intervention_prompt_tokens
)
select feature, prompt_id::int as prompt_id, context_id, token_ids
from drawn
where prompt_id < $scoring_intervention_n_trials * $scoring_intervention_set_size
order by feature, prompt_id
