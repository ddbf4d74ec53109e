-- One row per feature of the batch that was set to a value on texts: the tokens whose logits rise most, and those
-- whose logits fall most.
select
    token_changes.feature,
    list_transform(token_changes.promoted, lambda t: t.token_id) as promoted,
    list_transform(token_changes.suppressed, lambda t: t.token_id) as suppressed
from token_changes
