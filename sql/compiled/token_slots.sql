-- One row per top token of a feature of the batch and candidate slot that it stands in.
select distinct c.token_id, c.slot
from corpus_tokens as c
semi join batch_tokens using (token_id)
where c.slot is not null
