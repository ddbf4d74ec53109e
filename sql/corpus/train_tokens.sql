-- One row per token that occurs in train documents: how often, position 0 left out.
with placed_tokens as (
    select unnest(contexts.token_ids[2:]) as token_id
    from contexts
    join documents using (doc_id)
    where documents.role = 'train'
)
select token_id, count(*) as n_tokens
from placed_tokens
group by token_id
