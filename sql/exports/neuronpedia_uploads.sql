-- One row per batch to upload: its file, and the body of the request. A batch has at most 128 features of SAE
-- $sae, from $first_feature to below $end_feature: those with an explanation and a window in which they fire.
-- Neuronpedia accepts at most 512 characters per explanation, and at most 20 raised and 20 lowered tokens per
-- feature.
with windows as (
    select
        feature,
        list(
            {
                'tokens': texts,
                'values': activations,
                'quantileMin': if(is_top, null, low),
                'quantileMax': if(is_top, null, high),
                'quantileFraction': if(is_top, null, 0.1::double)
            }
            order by rank
        ) as activations
    from neuronpedia_windows
    group by feature
),
described as (
    select *, replace(explanation, chr(0), ' ') as words
    from chosen_explanations
    where sae = $sae
),
numbered as (
    select
        described.feature,
        exported_saes.model_id,
        exported_saes.source_id,
        (row_number() over (order by described.feature) - 1) // 128 as number,
        {
            'index': described.feature,
            'density': feature_stats.density,
            'activations': windows.activations,
            'explanations': [
                {
                    'text': if(
                        len(described.words) > 512, described.words[:511] || '…', described.words
                    ),
                    'methodName': 'latentlake_' || described.explainer,
                    'modelName': described.model
                }
            ],
            'topLogits': list_transform(
                feature_logits.promoted[:20],
                lambda token: {'token': replace(token.text, chr(0), ' '), 'value': token.logit}
            ),
            'bottomLogits': list_transform(
                feature_logits.suppressed[:20],
                lambda token: {'token': replace(token.text, chr(0), ' '), 'value': token.logit}
            )
        } as body
    from described
    join exported_saes using (sae)
    join feature_stats using (sae, feature)
    join windows using (feature)
    left join feature_logits using (sae, feature)
)
select
    format('uploads/{}/batch-{:07d}.json', source_id, min(feature)) as file,
    to_json({'modelId': model_id, 'source': source_id, 'features': list(body order by feature)})::varchar as text
from numbered
group by model_id, source_id, number
order by number
