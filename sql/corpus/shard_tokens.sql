-- One row: tokens of a shard's contexts.
select coalesce(sum(len(token_ids)), 0)::bigint as n_tokens from contexts where shard = $shard
