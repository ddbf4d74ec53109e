-- One row per explanation and pair of scorers that both judged it, controls left out: the two scores; and, over
-- all explanations of the pair, their correlation (Pearson) with its interval over n features, as in
-- scorer_agreements.
with judged as (
    select sae, explanation_id, explainer, scorer, value
    from headline_scores
    where
        value is not null
        and list_contains($explaining_explainers::varchar[], explainer)
),
paired as (
    select
        judged.sae,
        judged.explanation_id,
        judged.explainer,
        judged.scorer,
        others.scorer as other_scorer,
        judged.value,
        others.value as other_value
    from judged
    join judged as others
        on others.explanation_id = judged.explanation_id
        and others.scorer > judged.scorer
)
select
    paired.*,
    scorer_agreements.n_features as n,
    scorer_agreements.pearson as correlation,
    scorer_agreements.pearson_low as correlation_low,
    scorer_agreements.pearson_high as correlation_high
from paired
left join scorer_agreements using (sae, scorer, other_scorer)
order by paired.sae, paired.scorer, paired.other_scorer, paired.explanation_id
