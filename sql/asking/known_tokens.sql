-- One row per feature that the batch has examples of: the texts of its top tokens.
select feature, list_transform(top_tokens, lambda t: t.text) as texts
from feature_stats
semi join examples using (feature)
order by feature
