-- One row per control that borrows another feature's explanation, and feature with an explanation in those words.
-- A causal scorer shows that feature's continuations beside the control's only where too few others are left: the
-- explanation would be right about them, which counts as wrong, and the control would score below chance.
select distinct scored_explanations.explanation_id, explanations.feature as other
from scored_explanations
join explanations
    on explanations.explanation = scored_explanations.explanation
    and explanations.feature <> scored_explanations.feature
where scored_explanations.explainer = 'other_feature' and explanations.explainer <> 'other_feature'
