-- One row per role and generation of the corpus that added slots to it: how many, copied ones included, and how
-- many there are up to it.
select
    slots.role,
    documents.generation,
    count(*)::ubigint as n_slots,
    (sum(count(*)) over (partition by slots.role order by documents.generation))::ubigint as n_so_far
from slots
join documents using (doc_id)
group by slots.role, documents.generation
