-- One row per feature with train firings: how many tokens stand before its top firings.
-- Rows made by pipeline/compiled/counting.py: Counts.feature_previous_tokens
with pairs as (
    select f.feature, f.previous_token_id
    from firings as f
    join feature_cuts as c using (feature)
    where f.is_train and f.position >= 1 and f.activation >= c.top_cut
    group by f.feature, f.previous_token_id
)
select feature, count(*) as n_top_previous_tokens
from pairs
group by feature
