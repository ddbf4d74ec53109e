-- One row per feature of a list that is not selected: the reason, and the slots that it fires in.
-- wanted_features are those of the list that fire in $least_slots slots of each role and meet the condition.
select
    listed_features.feature,
    case
        when least(n_slots_train, n_slots_test) < $least_slots then 'hardly_fires'
        when wanted_features.feature is null then 'condition'
        else 'quota'
    end as reason,
    n_slots_train,
    n_slots_test
from listed_features
join feature_stats using (sae, feature)
left join wanted_features using (sae, feature)
anti join selected_features using (sae, feature)
order by listed_features.feature
