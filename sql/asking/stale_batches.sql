-- One row per batch whose scores belong to an earlier generation of the corpus, with that generation: documents
-- were added since. A batch that has been explained again is unfinished, not stale.
with explained as (
    select sae, feature // $selection_batch_size as batch, max(generation) as generation
    from explanations
    group by all
),
scored as (
    select
        sae,
        feature // $selection_batch_size as batch,
        max(generation) as generation,
        count(distinct feature) as n_features
    from scores
    group by all
)
select scored.sae, scored.batch, scored.generation, scored.n_features
from scored
join explained using (sae, batch)
where scored.generation < (select max(documents.generation) from documents)
    and explained.generation <= scored.generation
order by scored.sae, scored.batch
