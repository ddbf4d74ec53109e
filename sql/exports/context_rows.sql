-- One row per context, in order: its tokens.
select context_id, token_ids
from contexts
order by context_id
