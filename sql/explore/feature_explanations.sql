-- One row per explanation of feature $feature of SAE $sae: its words and its scores on test documents, one entry
-- per scorer. The one that stands for the feature comes first; those without words come after those with words,
-- and controls last.
with judged as (
    select
        explanation_id,
        list({
            'scorer': scorer,
            'metric': metric,
            'value': value,
            'low': low,
            'high': high,
            'chance': chance,
            'precision': precision,
            'recall': recall,
            'f1': f1,
            'n_scored': n_scored,
            'n_unscored': n_unscored,
            'reason': reason
        } order by scorer) as scores
    from score_index
    where sae = $sae and feature = $feature
    group by explanation_id
)
select
    explanation_index.explanation_id,
    explanation_index.explainer,
    explanation_index.draw,
    explanation_index.explanation,
    explanation_index.status,
    explanation_index.is_control,
    explanation_index.is_chosen,
    explanation_index.train_score,
    judged.scores
from explanation_index
left join judged using (explanation_id)
where explanation_index.sae = $sae and explanation_index.feature = $feature
order by
    is_control,
    explanation_index.rank nulls last,
    explanation_index.status <> 'ok',
    explanation_index.explainer,
    explanation_index.draw
