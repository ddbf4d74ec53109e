-- One row per feature and candidate slot that it fires in: the slot's peak and its place in the hash order.
select
    a.feature,
    t.role,
    t.context_id,
    t.slot_start as start,
    max(a.activation) as peak,
    hash($seed::bigint, $sae::varchar, a.feature::int, t.role, t.context_id::bigint, t.slot_start::int, 'example')
        as lot
from activations as a
join corpus_tokens as t using (token_index)
where t.slot_start is not null
group by a.feature, t.role, t.context_id, t.slot_start
