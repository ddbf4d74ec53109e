-- One row per feature that the list of features shows on one page, in its order, with the number of all that were
-- found. A feature is shown with one explanation, of explainer $explainer where one is named, and its score by
-- scorer $scorer, or by the SAE's main one. Nulls among the parameters leave a filter out.
with worded as (
    select *
    from explanation_index
    where if($explainer::varchar is null, place = 1, explainer = $explainer and own_place = 1)
),
scored as (
    select explanation_id, scorer, metric, value, low, high
    from score_index
    where if($scorer::varchar is null, is_main, scorer = $scorer)
),
matching as (
    select distinct sae, feature
    from explanation_index
    where
        len($words::varchar[]) > 0
        and ($explainer::varchar is null or explainer = $explainer)
        and len(list_filter($words::varchar[], lambda word: not contains(searched, word))) = 0
),
found as (
    select
        feature_index.* exclude (searched_tokens),
        worded.explanation_id,
        worded.explainer,
        worded.explanation,
        scored.scorer,
        scored.metric,
        scored.value,
        scored.low,
        scored.high,
        count(*) over () as n_found
    from feature_index
    left join worded using (sae, feature)
    left join scored using (explanation_id)
    left join matching using (sae, feature)
    where
        ($sae::varchar is null or sae = $sae)
        and ($route::varchar is null or route = $route)
        and (len($words::varchar[]) = 0 or matching.feature is not null)
        and ($token::varchar is null or list_contains(searched_tokens, $token))
        and (not $is_explained::boolean or worded.explanation_id is not null)
        and ($explainer::varchar is null or worded.explanation_id is not null)
        and ($scorer::varchar is null or scored.value is not null)
        and ($least_score::double is null or scored.value >= $least_score)
        and ($most_score::double is null or scored.value <= $most_score)
        and ($least_density::double is null or density >= $least_density)
        and ($most_density::double is null or density <= $most_density)
)
select *
from found
order by
    case when $sort = 'score' then value end desc nulls last,
    case when $sort = 'lowest_score' then value end nulls last,
    case when $sort = 'density' then density end desc,
    case when $sort = 'rarest' then if(n_active > 0, density, null) end nulls last,
    case when $sort = 'activation' then max_activation end desc nulls last,
    case when $sort = 'explained' then explanation_id is null end,
    sae,
    feature
limit $page_rows offset $first_row
