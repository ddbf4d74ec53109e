-- One row per feature of the SAEs: its statistics, its route, and the explanation that stands for it.
select
    feature_stats.*,
    feature_routes.route,
    feature_routes.reason,
    chosen_explanations.explanation_id,
    chosen_explanations.explainer,
    chosen_explanations.explanation
from feature_stats
semi join exported_saes using (sae)
left join feature_routes using (sae, feature)
left join chosen_explanations using (sae, feature)
order by feature_stats.sae, feature_stats.feature
