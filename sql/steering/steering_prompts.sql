-- One row per text that the subject model reads with a feature raised: the first tokens of a context, drawn by
-- hash. Texts of train documents serve to find the strengths, those of test documents are continued, so no
-- strength is set on what is judged. Each continued text is of another document; train documents are used in turn,
-- as one context of each would be too few in a small corpus.
with starts as (
    select
        doc_id,
        context_id,
        token_ids[1 : $scoring_intervention_prompt_tokens] as token_ids,
        row_number() over (
            partition by doc_id order by draw_hash($seed, (context_id, 'steering')), context_id
        ) as turn
    from contexts
    where len(token_ids) >= $scoring_intervention_prompt_tokens
),
drawn as (
    select
        documents.role,
        starts.context_id,
        starts.token_ids,
        row_number() over (
            partition by documents.role
            order by starts.turn, draw_hash($seed, (documents.doc_id, 'steering')), documents.doc_id
        ) - 1 as prompt_id
    from starts
    join documents using (doc_id)
    where documents.role = 'train' or starts.turn = 1
)
select role, prompt_id::int as prompt_id, context_id, token_ids
from drawn
where
    prompt_id < if(
        role = 'train',
        $scoring_intervention_n_held_out,
        $scoring_intervention_n_trials * $scoring_intervention_set_size
    )
order by role, prompt_id
