-- One row per feature and text that the subject model writes when the feature is changed.
select feature, continuation
from steered_texts
where continuation is not null
order by feature, continuation
