-- One row per token id from 0, without a gap: its bytes.
select bytes from tokens order by token_id
