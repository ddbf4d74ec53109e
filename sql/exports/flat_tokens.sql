-- One row per token of the vocabulary: its id and its text.
select token_id, text, is_special
from tokens
order by token_id
