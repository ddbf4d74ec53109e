-- One row per question by which a scorer's threshold is told, with the prompt that it stands in: the
-- explanation of another feature (the control `other_feature`), and a train window in which the feature
-- itself fires and the other does not, with its right marks where the scorer asks about marks ($has_marks).
-- The first scoring.pilot_features features of the batch by draw, $n_windows each at most.
with owners as (
    -- Whose explanation a control has.
    select distinct scored_explanations.explanation_id, explanations.feature
    from scored_explanations
    join explanations
        on explanations.explanation = scored_explanations.explanation
        and explanations.feature <> scored_explanations.feature
        and explanations.explainer not in ('empty', 'other_feature')
    where scored_explanations.explainer = 'other_feature'
),
fitting as (
    -- Windows in which such a feature fires.
    select distinct owners.explanation_id, examples.example_id
    from owners
    join scored_explanations using (explanation_id)
    join examples on examples.feature = scored_explanations.feature and examples.role = 'train'
    join activations
        on activations.sae = $sae
        and activations.feature = owners.feature
        and activations.context_id = examples.context_id
        and activations.position >= examples.start
        and activations.position < examples.start + len(examples.token_ids)
)
select
    scored_explanations.explanation_id,
    scored_explanations.feature,
    scored_explanations.explanation,
    (row_number() over (partition by scored_explanations.explanation_id order by examples.example_id) - 1)
    // $questions_per_prompt as prompt,
    md5(concat_ws(' ', scored_explanations.explanation_id, 'control', examples.example_id)) as question_id,
    examples.example_id,
    if($has_marks, marked_places(examples.activations, examples.peak, $explaining_marked_share), null) as marked,
    true as label,
    examples.token_ids
from scored_explanations
join batch_features using (feature)
join examples using (feature)
anti join fitting using (explanation_id, example_id)
where
    scored_explanations.explainer = 'other_feature'
    and batch_features.place <= $scoring_pilot_features
    and examples.role = 'train'
    and examples.kind = 'activating'
    and examples.draw <= $n_windows
order by scored_explanations.feature, scored_explanations.explanation_id, prompt, examples.example_id
