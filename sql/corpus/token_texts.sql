-- One row per token id from 0, without a gap: its text.
select text from tokens order by token_id
