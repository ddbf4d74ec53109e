-- One row per feature and candidate slot that it fires in: its strongest activation there.
select feature, slot, max(activation) as peak
from firings
where slot is not null
group by feature, slot
order by feature, slot
