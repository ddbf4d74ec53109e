-- One row per selected feature of route llm or rule without min_slots activating slots in a role's index.
select s.feature, count(*) filter (role = 'train') as n_train, count(*) filter (role = 'test') as n_test
from selected_features as s
join feature_routes as r on r.feature = s.feature
left join example_index as i on i.feature = s.feature and i.kind = 'activating'
where r.route in ('llm', 'rule')
group by s.feature
having least(n_train, n_test) < $routing_min_slots
