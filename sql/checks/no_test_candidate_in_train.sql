-- One row per test candidate slot that holds a whole run of tokens found in a train document.
-- Token lists are compared themselves, not the hashes by which `slots` is made.
with slot_tokens as (
    select
        slots.context_id,
        slots.start,
        slots.n_tokens,
        (slots.context_id - documents.first_context_id) * ($corpus_context_length - $corpus_prepend_bos::int)
        + slots.start - $corpus_prepend_bos::int as place,
        documents.token_ids
    from slots
    join documents using (doc_id)
    where slots.role = 'test' and slots.is_candidate and slots.n_tokens >= $sampling_copied_run_tokens
),
test_places as (
    select * replace (unnest(range(place, place + n_tokens - $sampling_copied_run_tokens + 1)) as place)
    from slot_tokens
),
test_runs as (
    select context_id, start, token_ids[place + 1 : place + $sampling_copied_run_tokens] as run
    from test_places
),
train_places as (
    select doc_id, unnest(range(n_tokens - $sampling_copied_run_tokens + 1)) as place
    from documents
    where role = 'train'
),
train_runs as (
    select documents.token_ids[train_places.place + 1 : train_places.place + $sampling_copied_run_tokens] as run
    from train_places
    join documents using (doc_id)
)
select distinct context_id, start
from test_runs
where run in (select run from train_runs)
