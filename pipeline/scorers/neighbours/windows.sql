-- One row per feature of the batch and test slot in which a near neighbour fires and the feature is silent,
-- n_questions per feature. Each neighbour's sampling.top strongest slots are candidates. The strongest of each
-- neighbour is taken first, nearest neighbour first, then the second of each. A slot of several neighbours belongs
-- to the nearest.
-- A slot that is an example for other scorers, too, has another id here (examples): they may have taken all slots
-- of a rare neighbour.
with nearest as (
    select feature_neighbours.*
    from feature_neighbours
    semi join batch_features using (feature)
),
own_slots as (
    select distinct
        activations.feature,
        activations.token_index // $corpus_context_length as context_id,
        activations.token_index % $corpus_context_length as position
    from activations
    semi join nearest using (feature)
    -- The batch's features have these ids, so other firings are not read.
    where activations.feature >= $first_feature and activations.feature < $end_feature
),
candidates as (
    select
        nearest.feature,
        nearest.neighbour,
        nearest.rank as neighbour_rank,
        nearest.cosine,
        example_index.context_id,
        example_index.start,
        example_index.rank,
        candidate_slots.n_tokens
    from nearest
    join example_index on example_index.feature = nearest.neighbour
    join candidate_slots using (context_id, start)
    where
        example_index.role = 'test'
        and example_index.rank <= $sampling_top
),
silent as (
    select candidates.*
    from candidates
    anti join own_slots
        on own_slots.feature = candidates.feature
        and own_slots.context_id = candidates.context_id
        and own_slots.position between candidates.start and candidates.start + candidates.n_tokens - 1
    qualify row_number() over (partition by feature, context_id, start order by neighbour_rank) = 1
),
in_turn as (
    select *, row_number() over (partition by feature, neighbour order by rank, context_id, start) as turn
    from silent
),
first as (
    select feature, context_id, start, n_tokens, neighbour, neighbour_rank, cosine
    from in_turn
    qualify row_number() over (partition by feature order by turn, neighbour_rank) <= $scoring_n_questions
)
select * from taken_slots where false
union all by name
select first.*, contexts.doc_id, 'test' as role, false as is_judge, 'neighbour' as kind
from first
join contexts using (context_id)
