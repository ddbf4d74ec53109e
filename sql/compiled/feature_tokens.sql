-- One row per feature and token that it fires on in train documents, position 0 left out.
-- Rows made by pipeline/compiled/counting.py: Counts.feature_tokens
select
    $sae as sae,
    f.feature,
    f.token_id,
    count(*) as n_active,
    count(*) filter (f.activation >= c.top_cut) as n_top,
    count(*) filter (f.activation > c.strong_cut) as n_strong,
    sum(f.activation::double) as sum_activation
from firings as f
join feature_cuts as c using (feature)
where f.is_train and f.position >= 1
group by f.feature, f.token_id
order by f.feature, f.token_id
