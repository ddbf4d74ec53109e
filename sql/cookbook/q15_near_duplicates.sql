-- One row per pair of features: which features write nearly the same direction, and does one rule predict both?
select
    feature_neighbours.sae,
    feature_neighbours.feature,
    feature_neighbours.neighbour,
    round(feature_neighbours.cosine::double, 3) as cosine,
    rules.rule,
    other_rules.rule as rule_of_the_neighbour
from feature_neighbours
left join feature_rules as rules
    on rules.sae = feature_neighbours.sae and rules.feature = feature_neighbours.feature and rules.is_chosen
left join feature_rules as other_rules
    on other_rules.sae = feature_neighbours.sae
    and other_rules.feature = feature_neighbours.neighbour
    and other_rules.is_chosen
where feature_neighbours.feature < feature_neighbours.neighbour
order by feature_neighbours.cosine desc, feature_neighbours.feature
