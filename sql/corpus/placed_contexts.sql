-- One row per context: its tokens, and whether its document is of the train side.
select c.context_id, c.token_ids, d.role = 'train' as is_train
from contexts as c
join documents as d using (doc_id)
