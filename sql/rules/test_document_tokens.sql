-- One row per token and test document that it occurs in: how often, position 0 left out.
select token_id, document_number, count(*) as n_tokens
from test_corpus_tokens
group by token_id, document_number
