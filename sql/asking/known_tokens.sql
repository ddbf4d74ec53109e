-- One row per feature that the batch has examples of: the texts of its top tokens, and the ids of those that it
-- promotes.
select
    s.feature,
    list_transform(s.top_tokens, lambda t: t.text) as texts,
    list_transform(l.promoted, lambda t: t.token_id) as promoted
from feature_stats as s
semi join examples as e using (feature)
left join feature_logits as l using (feature)
order by s.feature
