-- One row per feature and position of the context that it fires at.
-- Rows made by pipeline/compiled/counting.py: Counts.position_counts
select feature, position, count(*)::double as n_fired
from firings
group by feature, position
