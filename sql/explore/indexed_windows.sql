-- One row per window of feature $feature of SAE $sae that may become an example: the $strongest strongest, and
-- $of_a_decile of each decile by draw, test before train. It has the tokens of its slot, and the feature's
-- activations on them.
with indexed as (
    select
        context_id,
        start,
        role,
        'activating' as kind,
        decile,
        peak,
        count(*) over () as n_of_kind,
        count(*) over (partition by decile) as n_alike,
        row_number() over (order by peak desc, context_id, start) as from_top,
        row_number() over (partition by decile order by role = 'train', draw) as in_decile
    from example_index
    where sae = $sae and feature = $feature
),
own as (
    select * exclude (from_top, in_decile)
    from indexed
    where from_top <= $strongest or in_decile <= $of_a_decile
),
fired as (
    select context_id, position, activation
    from activations
    where sae = $sae and feature = $feature
),
cut as (
    select
        own.*,
        slots.n_tokens,
        contexts.token_ids[own.start + 1:own.start + slots.n_tokens] as token_ids
    from own
    join slots using (context_id, start)
    join contexts on contexts.context_id = own.context_id
),
shaded as (
    select
        cut.context_id,
        cut.start,
        map_from_entries(list((fired.position - cut.start, fired.activation))) as by_position
    from cut
    join fired
        on fired.context_id = cut.context_id
        and fired.position between cut.start and cut.start + cut.n_tokens - 1
    group by cut.context_id, cut.start
)
select
    null::varchar as example_id,
    cut.context_id,
    cut.start,
    cut.role,
    cut.kind,
    cut.decile,
    cut.peak,
    cut.token_ids,
    list_transform(range(len(cut.token_ids)), lambda position: coalesce(shaded.by_position[position], 0))
        as activations,
    cut.n_of_kind,
    cut.n_alike
from cut
join shaded using (context_id, start)
order by cut.peak desc, cut.context_id, cut.start
