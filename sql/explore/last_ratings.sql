-- One row per explanation and reader who has rated it: the last verdict.
select explanation_id, rater, arg_max(verdict, rated_at) as verdict
from ratings
group by explanation_id, rater
