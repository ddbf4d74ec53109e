-- One row per feature of the batch and top token of it.
select s.feature, unnest(s.top_tokens).token_id as token_id
from feature_stats as s
semi join batch_features using (feature)
