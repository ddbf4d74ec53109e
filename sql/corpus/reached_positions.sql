-- One row per position of a context: contexts that reach it (documents end early), and tokens in total. Where
-- is_train, of train documents without position 0; else of all documents.
with context_lengths as (
    select
        len(contexts.token_ids) as n_tokens,
        count(*) as n_contexts,
        count(*) filter (documents.role = 'train') as n_train_contexts
    from contexts
    join documents using (doc_id)
    group by len(contexts.token_ids)
),
reached as (
    select
        position,
        sum(coalesce(n_contexts, 0)) over (order by position desc)::double as n_reached,
        sum(coalesce(n_train_contexts, 0)) over (order by position desc)::double as n_reached_train
    from range((select max(n_tokens) from context_lengths)) as positions (position)
    left join context_lengths on context_lengths.n_tokens = positions.position + 1
)
select false as is_train, position, n_reached, sum(n_reached) over () as n_all
from reached
union all
select true as is_train, position, n_reached_train as n_reached, sum(n_reached_train) over () as n_all
from reached
where position >= 1 and n_reached_train > 0
