-- One row per feature of the batch and top token.
select feature_stats.feature, unnest(feature_stats.top_tokens).token_id as token_id
from feature_stats
semi join batch_features using (feature)
