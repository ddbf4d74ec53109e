-- One row per top token of a feature of the batch and candidate slot that it stands in.
with wanted as (
    select distinct unnest(s.top_tokens).token_id as token_id
    from feature_stats as s
    semi join batch_features using (feature)
)
select distinct c.token_id, c.slot
from corpus_tokens as c
semi join wanted using (token_id)
where c.slot is not null
