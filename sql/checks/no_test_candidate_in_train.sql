-- One row per test candidate slot that contains a whole run of tokens found in a train document or, if it is
-- shorter than a run, that occurs there whole.
-- This compares the token lists themselves, not the hashes that make `slots`; but only where four of their tokens
-- match, so that no list is made for every position of the corpus.
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
    where slots.role = 'test' and slots.is_candidate
),
test_runs as (
    select
        context_id,
        start,
        unnest(range(greatest(n_tokens - $sampling_copied_run_tokens, 0) + 1)) as skipped,
        token_ids[
            place + skipped + 1 : place + skipped + least(n_tokens, $sampling_copied_run_tokens)
        ] as run
    from slot_tokens
),
sized as (
    -- The four are taken from the first p tokens, p the largest power of two up to the slot's length.
    select *, 1 << (length(bin(len(run))) - 1) as n_first from test_runs
),
test_keys as (
    select
        *,
        hash(run[1], run[n_first // 3 + 1], run[2 * n_first // 3 + 1], run[n_first]) as four
    from sized
),
train_places as (
    select
        sizes.n_first,
        documents.token_ids,
        generate_subscripts(documents.token_ids, 1) as place,
        unnest(documents.token_ids) as one,
        unnest(documents.token_ids[sizes.n_first // 3 + 1 :]) as two,
        unnest(documents.token_ids[2 * sizes.n_first // 3 + 1 :]) as three,
        unnest(documents.token_ids[sizes.n_first :]) as four
    from documents
    cross join (select distinct n_first from test_keys) as sizes
    where documents.role = 'train'
),
train_keys as (
    select n_first, token_ids, place, hash(one, two, three, four) as four
    from train_places
    where four is not null
)
select distinct test_keys.context_id, test_keys.start
from train_keys
join test_keys using (n_first, four)
where train_keys.token_ids[train_keys.place : train_keys.place + len(test_keys.run) - 1] = test_keys.run
