-- One row per SAE, route and explainer that chooses among its draws: what the choice gained, on the train windows
-- that chose. The best of several is flattered there.
with searches as (
    select
        sae,
        explainer,
        feature,
        any_value(draw) filter (is_chosen) as chosen_draw,
        any_value(train_score) filter (is_chosen) as chosen_score,
        any_value(train_score) filter (draw = 0) as first_score
    from explanations
    group by sae, explainer, feature
    having (count(*) > 1 or max(len(judge_request_ids)) > 0) and bool_or(is_chosen and status = 'ok')
)
select
    searches.sae,
    feature_routes.route,
    searches.explainer,
    count(*) as n_searched_features,
    exact_mean(if(chosen_draw = 0, 0, chosen_score - first_score)) as search_gain
from searches
join feature_routes using (sae, feature)
group by searches.sae, feature_routes.route, searches.explainer
