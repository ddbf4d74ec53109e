-- One row per window in which a feature of SAE $sae from $first_feature to below $end_feature fires, with its
-- group: the 20 strongest windows, or the tenth of the feature's firings by strength, between two of its deciles,
-- that contains the window's peak.
with placed as (
    select
        exported_windows.feature,
        exported_windows.example_id,
        exported_windows.rank,
        exported_windows.texts,
        exported_windows.activations,
        exported_windows.strongest,
        exported_windows.peak::varchar::double as peak,
        feature_stats.max_activation,
        feature_stats.activation_deciles as deciles,
        len(list_filter(feature_stats.activation_deciles, lambda decile: decile <= exported_windows.peak)) as tenth
    from exported_windows
    join feature_stats using (sae, feature)
    where exported_windows.kind = 'activating'
)
select
    feature,
    example_id,
    rank,
    texts,
    activations,
    strongest,
    peak,
    max_activation,
    rank <= 20 as is_top,
    if(tenth = 0, 0, deciles[tenth]) as low,
    if(tenth = 9, max_activation, deciles[tenth + 1]) as high
from placed
