-- One row per explanation and reader who has rated it in its current words: the last verdict. An explanation keeps
-- its explanation_id when a later run words it differently, and ratings outlive every run: ratings of other words,
-- or from before ratings stored the hash of the words, say nothing about the current ones.
with worded as (
    select explanation_id, sha256(explanation) as explanation_sha256
    from explanation_index
    semi join ratings using (explanation_id)
)
select explanation_id, rater, arg_max(verdict, rated_at) as verdict
from ratings
join worded using (explanation_id, explanation_sha256)
group by explanation_id, rater
