-- One row per feature: the number of judging windows that there are with the rarer answer, of the first $n_judging
-- with each. These are train windows that no explainer is shown.
select feature, least(count(*) filter (kind = 'activating'), count(*) filter (kind <> 'activating')) as n_windows
from examples
where is_judge and draw <= $n_judging
group by feature
