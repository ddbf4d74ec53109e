-- One row per feature of the batch that was set on texts: the tokens whose logits rise, and those that fall, most.
select
    feature,
    list_transform(promoted, lambda t: t.token_id) as promoted,
    list_transform(suppressed, lambda t: t.token_id) as suppressed
from token_changes
