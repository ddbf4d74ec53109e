-- One row per feature of SAE $sae from $first_feature to below $end_feature. A feature that never fires has counts
-- of 0 and no quantiles.
-- Token counts can flag a feature only from min_firings train firings on: with fewer firings they are small by
-- chance.
with all_features as (
    select unnest(range($first_feature::int, least($end_feature::int, n_features))) as feature
    from saes
    where sae = $sae
),
totals as (
    select
        (select any_value(n_all)::bigint from reached_positions where not is_train) as n_tokens,
        (select sum(n_tokens) from train_tokens) as n_train_tokens
),
joined as (
    select
        all_features.feature,
        coalesce(feature_counts.n_active, 0) as n_active,
        coalesce(feature_counts.n_active_first, 0) as n_active_first,
        coalesce(feature_masses.n_active_train, 0) as n_active_train,
        coalesce(feature_counts.n_slots_train, 0) as n_slots_train,
        coalesce(feature_counts.n_slots_test, 0) as n_slots_test,
        coalesce(feature_counts.n_contexts_train, 0) as n_contexts_train,
        coalesce(feature_counts.n_contexts_test, 0) as n_contexts_test,
        coalesce(feature_counts.n_documents_train, 0) as n_documents_train,
        coalesce(feature_counts.n_documents_test, 0) as n_documents_test,
        coalesce(feature_counts.n_active, 0) / totals.n_tokens as density,
        coalesce(coalesce(feature_masses.n_active_train, 0) / totals.n_train_tokens, 0) as density_train,
        feature_counts.max_activation,
        feature_cuts.max_activation as max_activation_train,
        feature_counts.mean_activation,
        feature_counts.activation_deciles,
        all_positions.position_information_nats,
        scored_positions.position_information_nats as position_information_train_nats,
        scored_positions.position_bias_nats,
        scored_positions.position_score,
        coalesce(feature_masses.n_top_tokens, 0) as n_top_tokens,
        coalesce(feature_masses.n_mass_tokens, 0) as n_mass_tokens,
        coalesce(feature_previous_tokens.n_top_previous_tokens, 0) as n_top_previous_tokens,
        coalesce(top_tokens.top_tokens, []) as top_tokens
    from all_features
    cross join totals
    left join feature_counts using (feature)
    left join (from feature_positions where not is_train) as all_positions using (feature)
    left join (from feature_positions where is_train) as scored_positions using (feature)
    left join feature_cuts using (feature)
    left join feature_masses using (feature)
    left join top_tokens using (feature)
    left join feature_previous_tokens using (feature)
)
select
    $sae as sae,
    *,
    n_active_train >= $heuristics_min_firings and n_top_tokens <= $heuristics_max_tokens as is_unigram,
    n_active_train >= $heuristics_min_firings and n_top_previous_tokens <= $heuristics_max_tokens
        as is_previous_token,
    coalesce(position_information_nats > $heuristics_positional_information_nats, false) as is_positional
from joined
order by feature
