-- One row per reader: the number of explanations that he or she has rated.
select rater, count(*) as n
from last_ratings
group by rater
order by n desc, rater
