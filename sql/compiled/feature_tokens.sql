-- One row per feature and token that it fires on in train documents, position 0 left out.
-- Rows made by pipeline/compiled/counting.py: Counts.feature_tokens
select
    $sae as sae,
    firings.feature,
    firings.token_id,
    count(*) as n_active,
    count(*) filter (firings.activation >= feature_cuts.top_cut) as n_top,
    count(*) filter (firings.activation > feature_cuts.strong_cut) as n_strong,
    sum(firings.activation::double) as sum_activation
from firings
join feature_cuts using (feature)
where firings.is_train and firings.position >= 1
group by firings.feature, firings.token_id
order by firings.feature, firings.token_id
