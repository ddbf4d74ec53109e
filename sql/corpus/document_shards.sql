-- One row per shard of the corpus: tokens of its documents.
select shard, sum(n_tokens)::bigint as n_tokens from documents group by shard order by shard
