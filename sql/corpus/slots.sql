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
        hash(run_hash, lead(run_hash, n_tokens) over (partition by doc_id order by place))
    from doubled
    where n_tokens < $sampling_copied_run_tokens
),
runs as (
    -- A run that would pass its document's end is none.
    select r.doc_id, r.role, r.place, r.run_hash
    from doubled as r
    join documents as d using (doc_id)
    where r.n_tokens = $sampling_copied_run_tokens
      and r.place + $sampling_copied_run_tokens <= d.n_tokens
),
copied_runs as (
    select doc_id, place
    from runs
    where role = 'test' and run_hash in (select run_hash from runs where role = 'train')
),
marked_tokens as (
    select
        t.*,
        max(c.place) over (
            partition by t.doc_id order by t.place
            rows between $sampling_copied_run_tokens - 1 preceding and current row
        ) is not null as is_copied
    from token_rows as t
    left join copied_runs as c on c.doc_id = t.doc_id and c.place = t.place
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
