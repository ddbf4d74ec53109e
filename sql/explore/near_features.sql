-- One row per near neighbour of feature $feature of SAE $sae, with what is known about it in words.
select
    feature_neighbours.neighbour,
    feature_neighbours.cosine,
    feature_index.route,
    feature_index.top_tokens[:4] as top_tokens,
    explanation_index.explanation
from feature_neighbours
left join feature_index
    on feature_index.sae = $sae and feature_index.feature = feature_neighbours.neighbour
left join explanation_index
    on explanation_index.sae = $sae
    and explanation_index.feature = feature_neighbours.neighbour
    and explanation_index.rank = 1
where feature_neighbours.sae = $sae and feature_neighbours.feature = $feature
order by feature_neighbours.rank
