-- One row per context, in their order: its tokens.
select context_id, token_ids
from contexts
order by context_id
