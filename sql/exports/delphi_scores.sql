-- One row per scorer and feature with an explanation of SAE $sae, from $first_feature to below $end_feature: its
-- file in delphi's results, and the questions about test windows as a JSON list. `distance` is the decile of a
-- window, -1 where the feature is silent in it. Without an answer, `prediction` and `correct` are null.
select
    format(
        'scores/{}/{}_latent{}.txt',
        if(predictions.scorer = 'fuzzing', 'fuzz', predictions.scorer),
        any_value(exported_saes.hookpoint),
        predictions.feature
    ) as file,
    to_json(
        list(
            {
                'str_tokens': exported_windows.texts,
                'activations': exported_windows.activations,
                'distance': coalesce(exported_windows.decile, -1),
                'activating': predictions.label,
                'prediction': predictions.prediction,
                'probability': predictions.probability,
                'correct': predictions.prediction = predictions.label
            }
            order by predictions.question_id
        )
    )::varchar as text
from predictions
join chosen_explanations using (explanation_id)
join exported_saes on exported_saes.sae = predictions.sae
join exported_windows on exported_windows.example_id = predictions.example_id
where
    predictions.sae = $sae
    and predictions.role = 'test'
    and predictions.label is not null
    and predictions.feature >= $first_feature
    and predictions.feature < $end_feature
group by predictions.scorer, predictions.feature
