-- One row per selected feature of route llm or rule without min_slots activating slots in a role's index.
select
    selected_features.feature,
    count(*) filter (role = 'train') as n_train,
    count(*) filter (role = 'test') as n_test
from selected_features
join feature_routes on feature_routes.feature = selected_features.feature
left join example_index on example_index.feature = selected_features.feature and example_index.kind = 'activating'
where feature_routes.route in ('llm', 'rule')
group by selected_features.feature
having least(n_train, n_test) < $routing_min_slots
