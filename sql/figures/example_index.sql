-- One row per figure of example_index: rows by role and kind.
select role || '_' || kind as figure, count(*) as value
from example_index
group by role, kind
order by figure
