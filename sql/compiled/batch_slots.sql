-- One row per feature of the batch, or near neighbour of one, and candidate slot that it fires in.
with wanted as (
    select feature from batch_features
    union
    select neighbour from batch_neighbours
)
select distinct a.feature, t.slot
from activations as a
semi join wanted as w on w.feature = a.feature
join corpus_tokens as t using (token_index)
where t.slot is not null
