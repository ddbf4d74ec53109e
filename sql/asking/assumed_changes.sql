-- One row per selected feature of the batch: the tokens that setting it changes most. Where this is not measured
-- yet, others stand in for the estimate: those that it promotes, or the first of the vocabulary.
with some_tokens as (
    select list({'token_id': token_id, 'text': text, 'logit': 0::float} order by token_id) as listed
    from tokens
    where token_id < $heuristics_top_tokens
),
assumed as (
    select
        batch_features.feature,
        coalesce(feature_logits.promoted, some_tokens.listed) as promoted,
        coalesce(feature_logits.suppressed, some_tokens.listed) as suppressed
    from batch_features
    cross join some_tokens
    left join feature_logits using (feature)
    anti join token_changes using (feature)
)
select * from token_changes
union all by name
select $sae as sae, feature, promoted, suppressed from assumed
