-- One row per explanation and reader who has rated it in the words that it has now: the last verdict. An
-- explanation keeps its explanation_id when a later run words it anew, and ratings outlive every run: what was
-- said of other words, or before ratings held the hash of the words, says nothing of these.
with worded as (
    select explanation_id, sha256(explanation) as explanation_sha256
    from explanation_index
    semi join ratings using (explanation_id)
)
select explanation_id, rater, arg_max(verdict, rated_at) as verdict
from ratings
join worded using (explanation_id, explanation_sha256)
group by explanation_id, rater
