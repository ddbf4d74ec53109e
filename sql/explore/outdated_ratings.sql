-- One row: the number of verdicts, one per reader and explanation, about words that the lake no longer has.
select count(distinct row(explanation_id, rater)) as n
from ratings
anti join last_ratings using (explanation_id, rater)
