-- One row per feature of the batch and near neighbour of it.
select n.feature, n.neighbour
from feature_neighbours as n
semi join batch_features using (feature)
