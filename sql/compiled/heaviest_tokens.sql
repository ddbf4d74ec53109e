-- One row per feature from $first_feature to below $end_feature and token among those of its largest summed
-- activation on train documents.
-- Rows made by pipeline/compiled/token_mass.py: heaviest_tokens
select
    feature,
    token_id,
    n_active,
    sum_activation,
    row_number() over (partition by feature order by sum_activation desc, token_id) as place
from feature_tokens
where feature >= $first_feature and feature < $end_feature
qualify place <= $heuristics_top_tokens
order by feature, place
