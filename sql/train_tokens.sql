-- One row per token that occurs in train documents: how often, position 0 left out.
select token_id, count(*) as n_tokens
from corpus_tokens
where role = 'train' and position >= 1
group by token_id
