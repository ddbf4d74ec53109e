-- One row per feature of the batch and near neighbour.
select feature_neighbours.feature, feature_neighbours.neighbour
from feature_neighbours
semi join batch_features using (feature)
