-- One row per reader: how many explanations he or she has rated.
select rater, count(distinct explanation_id) as n
from ratings
group by rater
order by n desc, rater
