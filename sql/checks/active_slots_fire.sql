-- One row per indexed slot of SAE $sae whose kind the activations contradict.
with firings as (
    select activations.feature, slots.context_id, slots.start, max(activations.activation) as peak
    from activations
    join slots
        on slots.context_id = activations.context_id
        and activations.position between slots.start and slots.start + slots.n_tokens - 1
    group by activations.feature, slots.context_id, slots.start
)
select
    example_index.feature,
    example_index.context_id,
    example_index.start,
    example_index.kind,
    example_index.peak,
    firings.peak as found_peak
from example_index
left join firings
    on firings.feature = example_index.feature
    and firings.context_id = example_index.context_id
    and firings.start = example_index.start
where example_index.peak is distinct from firings.peak
    or (example_index.kind = 'activating') <> (firings.peak is not null)
