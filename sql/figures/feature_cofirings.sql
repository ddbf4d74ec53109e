-- One row per figure of feature_cofirings: the tokens counted, and the features that fire with another.
select
    unnest(['tokens_counted', 'features']) as figure,
    unnest([coalesce(max(n_tokens), 0), count(distinct feature)]) as value
from feature_cofirings
