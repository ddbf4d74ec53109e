-- One row: the explanation that reader $rater is shown next, with the hash of its words, and how many are left
-- including it. Controls with words are among them. All readers see them in one order, by hash, so that the
-- ratings of two readers overlap.
select
    explanation_id,
    sae,
    feature,
    explanation,
    sha256(explanation) as explanation_sha256,
    count(*) over () as n_left
from explanation_index
anti join (select explanation_id from last_ratings where rater = $rater) using (explanation_id)
where status = 'ok' and is_chosen and trim(explanation) <> ''
order by md5(explanation_id)
limit 1
