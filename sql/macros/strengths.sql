-- The activations of a window in whole steps from 0 to 10, where 10 is `largest`, the feature's largest in train
-- documents.
create macro strengths(activations, largest) as list_transform(
    activations, lambda activation: least(10, round(10 * activation / largest))
)
