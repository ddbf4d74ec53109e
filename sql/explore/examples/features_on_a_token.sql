-- One row per feature: those that fire on the token ' error', by the share of its occurrences on which they do.
select sae, feature, token.fire_share as fire_share, token.n_active as n_active, token.mean_activation as mean
from (select sae, feature, unnest(top_tokens) as token from feature_stats)
where token.text = ' error'
order by fire_share desc, n_active desc
