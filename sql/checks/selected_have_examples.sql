-- One row per selected feature of route llm or rule without min_slots activating slots in a role's index, or where
-- fewer of a decile are kept, without as many as the ten deciles keep.
select
    selected_features.feature,
    count(*) filter (role = 'train') as n_train,
    count(*) filter (role = 'test') as n_test
from selected_features
join feature_routes on feature_routes.feature = selected_features.feature
left join example_index on example_index.feature = selected_features.feature
where feature_routes.route in ('llm', 'rule')
group by selected_features.feature
having least(n_train, n_test) < least($routing_min_slots, 10 * $sampling_draws_per_decile)
