-- One row per feature, at most ten, that fires on the same tokens as feature $feature of SAE $sae, with what is
-- known about it in words: the number of tokens on which both fire, and the number expected if each fired
-- independently.
select
    feature_cofirings.other,
    feature_cofirings.n_both,
    feature_cofirings.n_expected,
    feature_cofirings.n_both / feature_cofirings.n_feature as share_of_own,
    feature_index.top_tokens[:4] as top_tokens,
    explanation_index.explanation
from feature_cofirings
left join feature_index
    on feature_index.sae = $sae and feature_index.feature = feature_cofirings.other
left join explanation_index
    on explanation_index.sae = $sae
    and explanation_index.feature = feature_cofirings.other
    and explanation_index.rank = 1
where feature_cofirings.sae = $sae and feature_cofirings.feature = $feature and feature_cofirings.rank <= 10
order by feature_cofirings.rank
