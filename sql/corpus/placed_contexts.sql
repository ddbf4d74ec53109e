-- One row per context: its tokens, and whether its document is a train document.
select contexts.context_id, contexts.token_ids, documents.role = 'train' as is_train
from contexts
join documents using (doc_id)
