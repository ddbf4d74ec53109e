-- One row per test candidate slot that contains a whole run of tokens found in a train document or, if it is
-- shorter than a run, that occurs there whole.
-- This compares the tokens themselves, not the hashes that make `slots`; but only where four of them match, so
-- that no list is made for every position of the corpus. No list is cut from a document: that copies the document.
with test_runs as (
    -- The four are among a run's first p tokens, p the largest power of two up to its length.
    select
        slots.context_id,
        slots.start,
        documents.first_context_id,
        (slots.context_id - documents.first_context_id) * ($corpus_context_length - $corpus_prepend_bos::int)
        + slots.start - $corpus_prepend_bos::int
        + unnest(range(greatest(slots.n_tokens - $sampling_copied_run_tokens, 0) + 1)) as doc_position,
        least(slots.n_tokens, $sampling_copied_run_tokens) as n_tokens,
        1 << (length(bin(least(slots.n_tokens, $sampling_copied_run_tokens))) - 1) as n_first
    from slots
    join documents using (doc_id)
    where slots.role = 'test' and slots.is_candidate
),
four_tokens as (
    select
        documents.first_context_id,
        documents.role,
        sizes.n_first,
        unnest(range(len(documents.token_ids))) as doc_position,
        unnest(documents.token_ids) as one,
        unnest(documents.token_ids[sizes.n_first // 3 + 1 :]) as two,
        unnest(documents.token_ids[2 * sizes.n_first // 3 + 1 :]) as three,
        unnest(documents.token_ids[sizes.n_first :]) as four
    from documents
    cross join (select distinct n_first from test_runs) as sizes
),
keys as (
    select first_context_id, role, n_first, doc_position, hash(one, two, three, four) as four
    from four_tokens
    where four is not null
),
test_keys as (
    select test_runs.*, keys.four
    from test_runs
    join keys using (first_context_id, doc_position, n_first)
),
met as (
    select
        test_keys.context_id,
        test_keys.start,
        test_keys.n_tokens,
        [test_keys.first_context_id, test_keys.doc_position] as test_run,
        [keys.first_context_id, keys.doc_position] as train_run
    from keys
    join test_keys using (n_first, four)
    where keys.role = 'train'
),
found_runs as (
    select distinct n_tokens, unnest([test_run, train_run]) as begins from met
),
runs as (
    -- A run that would pass its document's end is shorter than the others.
    select
        found_runs.begins,
        found_runs.n_tokens,
        list(placed_tokens.token_id order by placed_tokens.doc_position) as run
    from (select *, unnest(range(begins[2], begins[2] + n_tokens)) as doc_position from found_runs) as found_runs
    join (
        select first_context_id, unnest(token_ids) as token_id, unnest(range(len(token_ids))) as doc_position
        from documents
    ) as placed_tokens
        on placed_tokens.first_context_id = found_runs.begins[1]
        and placed_tokens.doc_position = found_runs.doc_position
    group by found_runs.begins, found_runs.n_tokens
)
select distinct met.context_id, met.start
from met
join runs as test_tokens on test_tokens.begins = met.test_run and test_tokens.n_tokens = met.n_tokens
join runs as train_tokens on train_tokens.begins = met.train_run and train_tokens.n_tokens = met.n_tokens
where test_tokens.run = train_tokens.run
