-- One row: how many verdicts, one a reader and explanation, are of words that the lake does not have now.
select count(distinct row(explanation_id, rater)) as n
from ratings
anti join last_ratings using (explanation_id, rater)
