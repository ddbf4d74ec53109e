-- One row per position of the contexts of train documents: how many tokens stand there.
with placed as (
    select unnest(range(len(contexts.token_ids))) as position
    from contexts
    join documents using (doc_id)
    where documents.role = 'train'
)
select position, count(*) as n_tokens
from placed
group by position
