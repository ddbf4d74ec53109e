-- One row per slot. From position 1 on, a context is cut every slot_tokens tokens, at an offset drawn by a hash of
-- (seed, context), the same for all features and roles. End pieces of min_slot_tokens or more are slots, too.
-- A test slot is copied, and so not a candidate, if one of its tokens lies in a run of copied_run_tokens tokens
-- that also occurs, at any offset, in a train document. A slot shorter than that is copied if the whole of it
-- occurs there: its document may be too short for such a run.
-- Runs are compared by hashes, built by doubling: h1 = hash(token), h2[i] = hash(h1[i], h1[i+1]), h4[i] =
-- hash(h2[i], h2[i+2]), ... up to 2^n tokens.
with recursive token_rows as (
    select
        doc_id,
        role,
        first_context_id,
        unnest(token_ids) as token_id,
        generate_subscripts(token_ids, 1) - 1 as doc_position
    from documents
),
doubled as (
    select 1 as n_tokens, first_context_id, role = 'train' as is_train, doc_position, hash(token_id) as run_hash
    from token_rows
    union all
    select
        2 * n_tokens,
        first_context_id,
        is_train,
        doc_position,
        case when follows is not null then hash(run_hash, follows) end
    from (
        select *, lead(run_hash, n_tokens) over (partition by first_context_id order by doc_position) as follows
        from doubled
        where n_tokens < $sampling_copied_run_tokens
    )
),
runs as (
    -- Runs that would pass the end of their document are left out. None is shorter than what is compared below.
    select *
    from doubled
    where run_hash is not null and n_tokens > least($sampling_min_slot_tokens, $sampling_copied_run_tokens) // 2
),
train_runs as (
    select run_hash from runs where is_train and n_tokens = $sampling_copied_run_tokens
),
copied_runs as (
    select first_context_id, doc_position
    from runs
    semi join train_runs using (run_hash)
    where not is_train and n_tokens = $sampling_copied_run_tokens
),
marked_tokens as (
    select
        token_rows.*,
        coalesce(
            max(copied_runs.doc_position)
                over (partition by token_rows.first_context_id order by token_rows.doc_position)
            > token_rows.doc_position - $sampling_copied_run_tokens,
            false
        ) as is_copied
    from token_rows
    left join copied_runs
        on copied_runs.first_context_id = token_rows.first_context_id
        and copied_runs.doc_position = token_rows.doc_position
),
placed_tokens as (
    select
        doc_id,
        role,
        doc_position,
        first_context_id,
        is_copied,
        first_context_id + doc_position // ($corpus_context_length - $corpus_prepend_bos::int) as context_id,
        doc_position % ($corpus_context_length - $corpus_prepend_bos::int) + $corpus_prepend_bos::int as position,
        md5_number_lower($seed || ' slots ' || context_id) % $sampling_slot_tokens as shift
    from marked_tokens
),
cut as (
    select
        context_id,
        min(position) as start,
        count(*) as n_tokens,
        any_value(doc_id) as doc_id,
        any_value(role) as role,
        any_value(first_context_id) as first_context_id,
        min(doc_position) as doc_position,
        bool_or(is_copied) as is_touched
    from placed_tokens
    where position >= 1
    group by context_id, (position - 1 + $sampling_slot_tokens - shift) // $sampling_slot_tokens
    having count(*) >= $sampling_min_slot_tokens
),
short_ends as (
    -- A slot of n tokens is identified by its first and its last p tokens, p the largest power of two up to n.
    select
        *,
        unnest([doc_position, doc_position + n_tokens - n_hashed]) as end_position,
        unnest(['first', 'last']) as end_name
    from (select *, 1 << (length(bin(n_tokens)) - 1) as n_hashed from cut)
    where role = 'test' and n_tokens < $sampling_copied_run_tokens
),
short_slots as (
    select
        short_ends.context_id,
        short_ends.start,
        short_ends.n_tokens,
        short_ends.n_hashed,
        any_value(runs.run_hash) filter (short_ends.end_name = 'first') as first_hash,
        any_value(runs.run_hash) filter (short_ends.end_name = 'last') as last_hash
    from short_ends
    join runs
        on runs.first_context_id = short_ends.first_context_id
        and runs.doc_position = short_ends.end_position
        and runs.n_tokens = short_ends.n_hashed
    group by short_ends.context_id, short_ends.start, short_ends.n_tokens, short_ends.n_hashed
),
begun as materialized (
    -- Materialized, so that this join comes first.
    select sought.*, runs.first_context_id, runs.doc_position + sought.n_tokens - sought.n_hashed as last_position
    from (select distinct n_tokens, n_hashed, first_hash, last_hash from short_slots) as sought
    join runs on runs.n_tokens = sought.n_hashed and runs.run_hash = sought.first_hash
    where runs.is_train
),
standing as (
    select begun.n_tokens, begun.first_hash, begun.last_hash
    from begun
    join runs
        on runs.first_context_id = begun.first_context_id
        and runs.doc_position = begun.last_position
        and runs.n_tokens = begun.n_hashed
        and runs.run_hash = begun.last_hash
),
short_copies as (
    select context_id, start
    from short_slots
    semi join standing using (n_tokens, first_hash, last_hash)
)
select
    cut.context_id,
    cut.start,
    cut.n_tokens,
    cut.doc_id,
    cut.role,
    cut.is_touched or short_copies.start is not null as is_copied,
    not is_copied as is_candidate
from cut
left join short_copies using (context_id, start)
order by cut.context_id, cut.start
