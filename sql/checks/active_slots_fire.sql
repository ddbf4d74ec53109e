-- One row per indexed slot of a feature of SAE $sae, from $first_feature to below $end_feature, whose peak the
-- activations contradict.
with indexed as (
    select example_index.*, slots.n_tokens
    from example_index
    left join slots using (context_id, start)
    where example_index.feature >= $first_feature and example_index.feature < $end_feature
),
firings as (
    select indexed.feature, indexed.context_id, indexed.start, max(activations.activation) as peak
    from activations
    join indexed
        on indexed.feature = activations.feature
        and indexed.context_id = activations.context_id
        and activations.position between indexed.start and indexed.start + indexed.n_tokens - 1
    where activations.feature >= $first_feature and activations.feature < $end_feature
    group by indexed.feature, indexed.context_id, indexed.start
)
select
    indexed.feature,
    indexed.context_id,
    indexed.start,
    indexed.peak,
    firings.peak as found_peak
from indexed
left join firings using (feature, context_id, start)
where firings.peak is null or indexed.peak is distinct from firings.peak
