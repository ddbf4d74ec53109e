-- One row per feature on one page of the list of features, in its order, with the number of all features found. A
-- feature is shown with one explanation, by explainer $explainer where one is named, and its score by scorer
-- $scorer, else by the SAE's main scorer. A search by meaning finds the features that have an explanation in
-- `near_meanings`, and shows each with the nearest. A null parameter leaves its filter out.
-- Few columns are read for all features; the others are read only for those on the page.
with named as (
    select sae, feature, explanation_id, null::float as similarity
    from explanation_index
    where not $is_by_meaning::boolean and explainer = $explainer and own_rank = 1
    union all
    select sae, feature, arg_max(explanation_id, similarity), max(similarity)
    from explanation_index
    join near_meanings using (explanation)
    where is_shown and ($explainer::varchar is null or explainer = $explainer)
    group by sae, feature
),
judged as (
    select explanation_id, value
    from score_index
    where
        ($explainer::varchar is not null or $scorer::varchar is not null or $is_by_meaning::boolean)
        and if($scorer::varchar is null, is_main, scorer = $scorer)
),
matching as (
    select distinct sae, feature
    from explanation_index
    where
        is_shown
        and len($words::varchar[]) > 0
        and ($explainer::varchar is null or explainer = $explainer)
        and len(list_filter($words::varchar[], lambda word: not contains(searched, word))) = 0
),
shown as (
    select
        feature_index.sae,
        feature_index.feature,
        feature_index.n_active,
        feature_index.density,
        feature_index.max_activation,
        named.similarity,
        if(
            $explainer::varchar is null and not $is_by_meaning::boolean,
            feature_index.explanation_id,
            named.explanation_id
        ) as explanation_id,
        if(
            $explainer::varchar is null and $scorer::varchar is null and not $is_by_meaning::boolean,
            feature_index.value,
            judged.value
        ) as value
    from feature_index
    left join named using (sae, feature)
    left join judged
        on judged.explanation_id = if(
            $explainer::varchar is null and not $is_by_meaning::boolean,
            feature_index.explanation_id,
            named.explanation_id
        )
    left join matching using (sae, feature)
    where
        ($sae::varchar is null or sae = $sae)
        and ($route::varchar is null or feature_index.route = $route)
        and (len($words::varchar[]) = 0 or matching.feature is not null)
        and ($tokens::varchar[] is null or list_has_any(feature_index.searched_tokens, $tokens))
),
found as (
    select *
    from shown
    where
        (not $is_explained::boolean or explanation_id is not null)
        and ($explainer::varchar is null and not $is_by_meaning::boolean or explanation_id is not null)
        and ($scorer::varchar is null or value is not null)
        and ($least_score::double is null or value >= $least_score)
        and ($most_score::double is null or value <= $most_score)
        and ($least_density::double is null or density >= $least_density)
        and ($most_density::double is null or density <= $most_density)
),
page as (
    select
        sae,
        feature,
        explanation_id,
        similarity,
        row_number() over (
            order by
                case $sort
                    when 'meaning' then -similarity
                    when 'score' then -value
                    when 'lowest_score' then value
                    when 'density' then -density
                    when 'rarest' then if(n_active > 0, density, null)
                    when 'activation' then -max_activation
                    when 'explained' then (explanation_id is null)::int
                end nulls last,
                sae,
                feature
        ) as row_of_page
    from found
    qualify row_of_page > $first_row and row_of_page <= $first_row + $page_rows
)
select
    page.sae,
    page.feature,
    feature_index.route,
    feature_index.density,
    feature_index.max_activation,
    feature_index.top_tokens,
    feature_index.rule,
    explanation_index.explanation_id,
    explanation_index.explainer,
    explanation_index.explanation,
    page.similarity,
    score_index.scorer,
    score_index.metric,
    score_index.value,
    score_index.low,
    score_index.high,
    score_index.chance,
    (select count(*) from found) as n_found
from page
join feature_index using (sae, feature)
left join explanation_index
    on explanation_index.sae = page.sae
    and explanation_index.feature = page.feature
    and explanation_index.explanation_id = page.explanation_id
left join score_index
    on score_index.sae = page.sae
    and score_index.feature = page.feature
    and score_index.explanation_id = page.explanation_id
    and if($scorer::varchar is null, score_index.is_main, score_index.scorer = $scorer)
order by page.row_of_page
