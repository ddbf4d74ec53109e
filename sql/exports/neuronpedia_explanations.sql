-- One row per feature of SAE $sae from $first_feature to below $end_feature with an explanation, with the columns
-- of Neuronpedia's table of explanations. Neuronpedia allows only its own types of explanations and of models, so
-- ours are named in the notes.
select
    unnest({
        'id': 'c' || left(md5(exported_saes.source_id || chosen_explanations.explanation_id), 24),
        'modelId': exported_saes.model_id,
        'layer': exported_saes.source_id,
        'index': chosen_explanations.feature::varchar,
        'authorId': $neuronpedia_creator,
        'description': replace(chosen_explanations.explanation, chr(0), ' '),
        'typeName': null::varchar,
        'explanationModelName': null::varchar,
        'notes': concat_ws(
            '; ', 'latentlake', 'explainer ' || chosen_explanations.explainer, chosen_explanations.model
        )
    })
from chosen_explanations
join exported_saes using (sae)
where
    chosen_explanations.sae = $sae
    and chosen_explanations.feature >= $first_feature
    and chosen_explanations.feature < $end_feature
order by chosen_explanations.feature
