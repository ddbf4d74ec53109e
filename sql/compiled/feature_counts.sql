-- One row per feature that fires: counts and quantiles over all documents, position 0 included. Slots, and their
-- contexts and documents, are counted over candidate slots only.
-- Rows made by pipeline/compiled/counting.py: Counts.feature_counts
select
    feature,
    count(*) as n_active,
    count(*) filter (position = 0) as n_active_first,
    max(activation) as max_activation,
    avg(activation::double) as mean_activation,
    quantile_disc(activation, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]) as activation_deciles,
    count(*) filter (begins_slot and is_train) as n_slots_train,
    count(*) filter (begins_slot and not is_train) as n_slots_test,
    count(*) filter (begins_context and is_train) as n_contexts_train,
    count(*) filter (begins_context and not is_train) as n_contexts_test,
    count(*) filter (begins_document and is_train) as n_documents_train,
    count(*) filter (begins_document and not is_train) as n_documents_test
from firings
group by feature
