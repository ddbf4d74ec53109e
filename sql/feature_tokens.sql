-- One row per feature and token that it fires on in train documents, position 0 left out.
select
    $sae as sae,
    a.feature,
    t.token_id,
    count(*) as n_active,
    count(*) filter (a.activation >= c.top_cut) as n_top,
    count(*) filter (a.activation > c.strong_cut) as n_strong,
    sum(a.activation::double) as sum_activation
from activations as a
join corpus_tokens as t using (token_index)
join feature_cuts as c using (feature)
where t.role = 'train' and t.position >= 1
group by a.feature, t.token_id
order by a.feature, t.token_id
