-- One row per feature of SAE $sae from $first_feature to below $end_feature, every one; a feature that never fires has counts of 0 and no quantiles.
-- The token counts flag only with min_firings train firings: below it they are small by chance.
with all_features as (
    select unnest(range($first_feature::int, least($end_feature::int, n_features))) as feature
    from saes
    where sae = $sae
),
totals as (
    select
        (select any_value(n_all)::bigint from reached_positions) as n_tokens,
        (select sum(n_tokens) from train_tokens) as n_train_tokens
),
joined as (
    select
        f.feature,
        coalesce(c.n_active, 0) as n_active,
        coalesce(c.n_active_first, 0) as n_active_first,
        coalesce(k.n_active_train, 0) as n_active_train,
        coalesce(c.n_slots_train, 0) as n_slots_train,
        coalesce(c.n_slots_test, 0) as n_slots_test,
        coalesce(c.n_contexts_train, 0) as n_contexts_train,
        coalesce(c.n_contexts_test, 0) as n_contexts_test,
        coalesce(c.n_documents_train, 0) as n_documents_train,
        coalesce(c.n_documents_test, 0) as n_documents_test,
        coalesce(c.n_active, 0) / totals.n_tokens as density,
        coalesce(coalesce(k.n_active_train, 0) / totals.n_train_tokens, 0) as density_train,
        c.max_activation,
        u.max_activation as max_activation_train,
        c.mean_activation,
        c.activation_deciles,
        p.position_information_nats,
        p.position_bias_nats,
        p.position_score,
        coalesce(k.n_top_tokens, 0) as n_top_tokens,
        coalesce(k.n_mass_tokens, 0) as n_mass_tokens,
        coalesce(v.n_top_previous_tokens, 0) as n_top_previous_tokens,
        coalesce(t.top_tokens, []) as top_tokens
    from all_features as f
    cross join totals
    left join feature_counts as c using (feature)
    left join feature_positions as p using (feature)
    left join feature_cuts as u using (feature)
    left join feature_masses as k using (feature)
    left join top_tokens as t using (feature)
    left join feature_previous_tokens as v using (feature)
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
