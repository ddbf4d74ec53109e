-- One row per document of the corpus. Of equal texts the first is kept.
-- Contexts are numbered along the documents in the order of their ids, which are hashes, so every shard is a fair
-- sample of the corpus. Documents added later form a generation: their contexts are numbered after all earlier
-- ones, so nothing that exists moves.
-- A unit's role is drawn by a hash of (seed, unit), so all pieces of one source share it. The hash is md5 because
-- it is the same in every version of DuckDB.
with first_copies as (
    select *
    from read_documents
    anti join earlier_documents using (doc_id)
    qualify row_number() over (partition by doc_id order by ordinal) = 1
),
measured as (
    select
        *,
        len(token_ids) as n_tokens,
        ceil(n_tokens / ($corpus_context_length - $corpus_prepend_bos::int))::bigint as n_contexts
    from first_copies
),
numbered as (
    select
        *,
        coalesce(sum(n_contexts) over (order by doc_id rows between unbounded preceding and 1 preceding), 0)
            as n_contexts_before
    from measured
),
earlier as (
    select
        coalesce(
            sum(ceil(n_tokens / ($corpus_context_length - $corpus_prepend_bos::int))), 0
        )::bigint as n_contexts,
        coalesce(max(generation) + 1, 0)::int as n_generations
    from earlier_documents
)
select
    doc_id,
    source,
    unit,
    text,
    token_ids,
    n_tokens,
    earlier.n_contexts + n_contexts_before as first_context_id,
    n_contexts_before * $corpus_shards // (select sum(n_contexts) from measured) as shard,
    if(
        md5_number_lower($seed || ' role ' || unit) / 18446744073709551616 < $corpus_test_share,
        'test', 'train'
    ) as role,
    earlier.n_generations as generation
from numbered
cross join earlier
order by doc_id
