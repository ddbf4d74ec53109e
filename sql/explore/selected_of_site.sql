-- One row per selected feature that has statistics.
select selected_features.sae, selected_features.feature
from selected_features
semi join feature_index using (sae, feature)
order by selected_features.sae, selected_features.feature
