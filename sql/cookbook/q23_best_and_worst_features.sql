-- One row per feature among the three best and the three worst of an explainer by a scorer: which features does an
-- explainer explain best, and which worst?
with ranked as (
    select
        score_details.*,
        row_number() over (by_explainer order by value desc, feature) as rank_from_best,
        row_number() over (by_explainer order by value, feature) as rank_from_worst
    from score_details
    semi join summary using (sae, scorer, metric)
    semi join (select explanation_id from explanations where is_chosen) as chosen using (explanation_id)
    where stratum = 'all' and weighting = 'sample' and value is not null
    window by_explainer as (partition by sae, scorer, explainer)
)
select
    ranked.sae,
    ranked.scorer,
    ranked.metric,
    ranked.explainer,
    ranked.rank_from_best,
    ranked.feature,
    round(ranked.value, 2) as score,
    round(ranked.ci_low, 2) as low,
    round(ranked.ci_high, 2) as high,
    explanations.explanation
from ranked
join explanations using (explanation_id)
where
    ranked.explainer not in ('empty', 'other_feature')
    and least(ranked.rank_from_best, ranked.rank_from_worst) <= 3
order by ranked.sae, ranked.scorer, ranked.explainer, ranked.rank_from_best
