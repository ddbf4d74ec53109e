-- One row per scorer, explainer and route of SAE $sae: means over features, coverage and tokens. Scorers that
-- judged the most features come first, controls (explainers that the config does not name) last.
-- For a scorer with AUROC there is also its mean against silent windows that contain a token of the feature, which
-- words alone cannot separate (same_token_auroc); beside it the mean of the same features against all silent
-- windows (same_token_all), and their number: not every feature has such windows.
with areas as (
    select
        score_details.scorer,
        score_details.explainer,
        feature_routes.route,
        max(score_details.value) filter (stratum = 'same_token') as same_token,
        max(score_details.value) filter (stratum = 'all') as against_all
    from score_details
    join feature_routes using (sae, feature)
    anti join other_draws using (explanation_id)
    where score_details.sae = $sae and metric = 'auroc' and weighting = 'sample'
    group by score_details.scorer, score_details.explainer, feature_routes.route, score_details.explanation_id
),
same_token as (
    select
        scorer,
        explainer,
        route,
        count(*) as n_same_token_features,
        exact_mean(same_token) as same_token_auroc,
        exact_mean(against_all) as same_token_all
    from areas
    where same_token is not null and against_all is not null
    group by scorer, explainer, route
)
select
    summary.scorer,
    summary.metric,
    summary.chance,
    summary.explainer,
    summary.route,
    summary.n_features,
    summary.n_asked_features,
    summary.explained_share,
    summary.mean_failed_at_chance,
    summary.mean,
    summary.ci_low,
    summary.ci_high,
    same_token.same_token_auroc,
    same_token.same_token_all,
    coalesce(same_token.n_same_token_features, 0) as n_same_token_features,
    summary.coverage,
    summary.prompt_tokens,
    summary.rho_found
from summary
left join same_token using (scorer, explainer, route)
where summary.sae = $sae
order by
    max(summary.n_features) over (partition by summary.scorer) desc,
    summary.scorer,
    not list_contains($explaining_explainers::varchar[], summary.explainer),
    summary.explainer,
    summary.route
