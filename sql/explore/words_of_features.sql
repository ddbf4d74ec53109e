-- One row per feature of SAE $sae in $features: its route, and what is known about it in words.
select
    feature_index.feature,
    feature_index.route,
    feature_index.density,
    feature_index.max_activation,
    feature_index.top_tokens[:4] as top_tokens,
    coalesce(explanation_index.explanation, if(feature_index.route = 'rule', feature_index.rule, null)) as words
from feature_index
left join explanation_index
    on explanation_index.sae = $sae
    and explanation_index.feature = feature_index.feature
    and explanation_index.rank = 1
where feature_index.sae = $sae and list_contains($features::int[], feature_index.feature)
