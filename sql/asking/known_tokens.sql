-- One row per feature that the batch has examples of: the texts of its top tokens, and the ids of those that it
-- promotes, and of those that setting it raises.
select
    feature_stats.feature,
    list_transform(feature_stats.top_tokens, lambda t: t.text) as texts,
    list_transform(feature_logits.promoted, lambda t: t.token_id) as promoted,
    list_transform(token_changes.promoted, lambda t: t.token_id) as raised
from feature_stats
semi join examples using (feature)
left join feature_logits using (feature)
left join token_changes using (feature)
order by feature_stats.feature
