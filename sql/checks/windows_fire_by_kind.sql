-- One row per example of the batch that the feature's activations on its tokens contradict: they do not reach its
-- peak, or it is silent and they are not.
select example_id, feature, kind, peak, list_max(activations) as found_peak
from examples
where (kind = 'activating') <> (found_peak > 0) or peak is distinct from nullif(found_peak, 0)
