-- One row per generation and shard of the corpus: tokens of its documents.
select generation, shard, sum(n_tokens)::bigint as n_tokens
from documents
group by generation, shard
order by generation, shard
