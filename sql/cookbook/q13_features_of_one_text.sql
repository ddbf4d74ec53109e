-- One row per explained feature: which features fire only in a few units of the corpus (modules, READMEs, topics,
-- files)?
with counted as (
    select activations.sae, activations.feature, documents.unit, count(*) as n_firings
    from activations
    semi join selected_features using (sae, feature)
    join contexts using (context_id)
    join documents using (doc_id)
    group by activations.sae, activations.feature, documents.unit
)
select
    sae,
    feature,
    sum(n_firings)::bigint as n_firings,
    count(*) as n_units,
    arg_max(unit, n_firings) as main_unit,
    round(max(n_firings) / sum(n_firings), 2) as share_of_main_unit
from counted
group by sae, feature
having sum(n_firings) >= 50
order by share_of_main_unit desc, feature
