-- One row per figure of example_index: rows by role.
select role || '_slots' as figure, count(*) as value
from example_index
group by role
order by figure
