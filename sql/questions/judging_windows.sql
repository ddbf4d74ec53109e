-- One row per feature: of the first $n_judging train windows with each answer that judge drafts, those there are with
-- the rarer answer.
select feature, least(count(*) filter (kind = 'activating'), count(*) filter (kind <> 'activating')) as n_windows
from examples
where is_judge and draw <= $n_judging
group by feature
