-- One row per explanation and scorer, by the scorer's main metric and without controls: which explanations are
-- reliably good? Ranked by the lower end of their interval.
select
    score_details.sae,
    score_details.feature,
    score_details.explainer,
    score_details.scorer,
    score_details.metric,
    round(score_details.value, 2) as score,
    round(score_details.ci_low, 2) as low,
    round(score_details.ci_high, 2) as high,
    explanations.explanation
from score_details
semi join summary using (sae, scorer, metric)
join explanations using (explanation_id)
where
    score_details.stratum = 'all'
    and score_details.weighting = 'sample'
    and score_details.explainer not in ('empty', 'other_feature')
order by
    score_details.scorer, score_details.ci_low desc nulls last, score_details.feature, score_details.explainer
