-- One row per token of the vocabulary: what a token id stands for.
select token_id, text, is_special
from tokens
order by token_id
