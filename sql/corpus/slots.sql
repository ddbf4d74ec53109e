-- One row per slot: from position 1 on, a context is cut every slot_tokens tokens at an offset drawn by a hash
-- of (seed, context), the same for all features and roles. End pieces of min_slot_tokens or more are slots.
-- A test slot is copied, and no candidate, if one of its tokens lies in a run of copied_run_tokens tokens that
-- also stands, at any offset, in a train document. Runs are compared by hashes built by doubling:
-- h1 = hash(token), h2[i] = hash(h1[i], h1[i+1]), h4[i] = hash(h2[i], h2[i+2]), ... up to 2^n tokens.
with recursive token_rows as (
    select
        doc_id,
        role,
        first_context_id,
        unnest(token_ids) as token_id,
        generate_subscripts(token_ids, 1) - 1 as place
    from documents
),
doubled as (
    select 1 as n_tokens, doc_id, role, place, hash(token_id) as run_hash
    from token_rows
    union all
    select
        2 * n_tokens,
        doc_id,
        role,
        place,
        case when follows is not null then hash(run_hash, follows) end
    from (
        select *, lead(run_hash, n_tokens) over (partition by doc_id order by place) as follows
        from doubled
        where n_tokens < $sampling_copied_run_tokens
    )
),
runs as (
    -- A run that would pass its document's end is none.
    select doc_id, role, place, run_hash
    from doubled
    where n_tokens = $sampling_copied_run_tokens and run_hash is not null
),
train_runs as (
    select run_hash from runs where role = 'train'
),
copied_runs as (
    select doc_id, place
    from runs
    semi join train_runs using (run_hash)
    where role = 'test'
),
marked_tokens as (
    select
        token_rows.*,
        coalesce(
            max(copied_runs.place) over (partition by token_rows.doc_id order by token_rows.place)
            > token_rows.place - $sampling_copied_run_tokens,
            false
        ) as is_copied
    from token_rows
    left join copied_runs on copied_runs.doc_id = token_rows.doc_id and copied_runs.place = token_rows.place
),
placed_tokens as (
    select
        doc_id,
        role,
        is_copied,
        first_context_id + place // ($corpus_context_length - $corpus_prepend_bos::int) as context_id,
        place % ($corpus_context_length - $corpus_prepend_bos::int) + $corpus_prepend_bos::int as position,
        md5_number_lower($seed || ' slots ' || context_id) % $sampling_slot_tokens as shift
    from marked_tokens
)
select
    context_id,
    min(position) as start,
    count(*) as n_tokens,
    any_value(doc_id) as doc_id,
    any_value(role) as role,
    bool_or(is_copied) as is_copied,
    not bool_or(is_copied) as is_candidate
from placed_tokens
where position >= 1
group by context_id, (position - 1 + $sampling_slot_tokens - shift) // $sampling_slot_tokens
having count(*) >= $sampling_min_slot_tokens
order by context_id, start
