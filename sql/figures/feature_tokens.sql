-- One row per figure of feature_tokens.
select
    unnest(['features', 'tokens_a_feature']) as figure,
    unnest([count(distinct feature), count(*) / greatest(count(distinct feature), 1)]) as value
from feature_tokens
