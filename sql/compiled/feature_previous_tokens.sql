-- One row per feature with train firings: the number of distinct tokens before its top firings.
-- Rows made by pipeline/compiled/counting.py: Counts.feature_previous_tokens
with pairs as (
    select firings.feature, firings.previous_token_id
    from firings
    join feature_cuts using (feature)
    where firings.is_train and firings.position >= 1 and firings.activation >= feature_cuts.top_cut
    group by firings.feature, firings.previous_token_id
)
select feature, count(*) as n_top_previous_tokens
from pairs
group by feature
