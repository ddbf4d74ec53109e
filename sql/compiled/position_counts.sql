-- One row per feature and position of the context that it fires at: in all documents, and in train documents
-- (position 0 left out).
-- Rows made by pipeline/compiled/counting.py: Counts.position_counts
select
    feature,
    position,
    count(*)::double as n_fired,
    count(*) filter (is_train and position >= 1)::double as n_fired_train
from firings
group by feature, position
