-- One row per indexed slot of SAE $sae whose kind the activations contradict.
with firings as (
    select a.feature, s.context_id, s.start, max(a.activation) as peak
    from activations as a
    join slots as s on s.context_id = a.context_id and a.position between s.start and s.start + s.n_tokens - 1
    group by a.feature, s.context_id, s.start
)
select i.feature, i.context_id, i.start, i.kind, i.peak, f.peak as found_peak
from example_index as i
left join firings as f on f.feature = i.feature and f.context_id = i.context_id and f.start = i.start
where i.peak is distinct from f.peak or (i.kind = 'activating') <> (f.peak is not null)
