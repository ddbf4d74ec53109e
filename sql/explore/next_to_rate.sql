-- One row: the explanation that reader $rater is shown next, controls with words among them, the hash of its
-- words, and how many are left with it. All readers go through them in one order, by hash, so that what two have
-- rated overlaps.
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
