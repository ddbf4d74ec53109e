-- One row per feature: the features that fire on the token ' error', by the share of its occurrences on which they
-- fire.
select sae, feature, token.fire_share as share, token.n_active as firings, token.mean_activation as mean
from (select sae, feature, unnest(top_tokens) as token from feature_stats)
where token.text = ' error'
order by share desc, firings desc
