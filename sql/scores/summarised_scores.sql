-- One row per explanation and scorer that the summary counts, with the feature's route: the scores of chosen
-- explanations, and a row without a score for each feature that an explainer failed to explain. So an explainer
-- has a row for every scorer of explanations even if it failed on all features.
with scorers as (
    -- Excludes rule_exact (rules only) and scorers that judge features, which only have rows for the empty
    -- explanation.
    select sae, scorer, any_value(metric) as metric, min(chance) as chance
    from headline_scores
    where explainer not in ('empty', 'other_feature') and scorer <> 'rule_exact'
    group by sae, scorer
),
failed as (
    select
        explanations.explanation_id,
        explanations.sae,
        explanations.feature,
        explanations.explainer,
        scorers.scorer,
        scorers.metric,
        scorers.chance,
        0 as n_scored,
        0 as n_unscored
    from explanations
    join scorers using (sae)
    where explanations.is_chosen and explanations.status not in ('ok', 'not_asked')
),
chosen as (
    select *
    from headline_scores
    anti join (select explanation_id from explanations where not is_chosen) as other_draws using (explanation_id)
    union all by name
    select * from failed
)
select chosen.*, feature_routes.route
from chosen
join feature_routes using (sae, feature)
