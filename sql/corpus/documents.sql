-- One row per document of the corpus.
-- The first of equal texts stays. Contexts are numbered along the documents in the order of their ids, which
-- are hashes, so that every shard is a fair sample of the corpus. A unit's role is drawn by a hash of
-- (seed, unit), so that all pieces of one source share it. md5, since it is the same in every version.
with first_copies as (
    select *
    from read_documents
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
            as first_context_id
    from measured
)
select
    doc_id,
    source,
    unit,
    text,
    token_ids,
    n_tokens,
    first_context_id,
    first_context_id * $corpus_shards // (select sum(n_contexts) from measured) as shard,
    if(
        md5_number_lower($seed || ' role ' || unit) / 18446744073709551616 < $corpus_test_share,
        'test', 'train'
    ) as role
from numbered
order by doc_id
