-- One row per feature of the batch that was set on texts: the tokens whose logits rise, and those that fall, most.
select
    token_changes.feature,
    list_transform(token_changes.promoted, lambda t: t.token_id) as promoted,
    list_transform(token_changes.suppressed, lambda t: t.token_id) as suppressed
from token_changes
