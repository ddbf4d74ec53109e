-- One row per window of feature $feature of SAE $sae that an LLM may read: the activating ones by peak, then the
-- silent ones of each kind in the order in which they are taken; with the number of windows of its kind, and of
-- its decile.
select
    example_id,
    context_id,
    start,
    role,
    kind,
    decile,
    peak,
    token_ids,
    activations,
    count(*) over (partition by kind) as n_of_kind,
    count(*) over (partition by kind, decile) as n_alike
from examples
where sae = $sae and feature = $feature
order by peak desc nulls last, kind, role, draw
