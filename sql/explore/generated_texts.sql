-- One row per text that a scorer had written from explanation $explanation_id of feature $feature of SAE $sae:
-- whether the feature should fire in it, whether it does, and its activations except at position 0, which shows
-- nothing. Texts in which it should fire come first. A text that was not read has no tokens.
select
    label,
    prediction,
    probability as peak,
    status,
    text,
    coalesce(token_ids, []) as token_ids,
    [0.0] || values[2:] as activations
from predictions
where
    sae = $sae
    and feature = $feature
    and explanation_id = $explanation_id
    and text is not null
order by label desc, peak desc nulls last, text
