-- One row per token: the piece of text that it is, and the token in lower case without its spaces. A token that is
-- part of a character ends a word. Tokens of spaces and line ends alone are spelled out.
select
    token_id,
    coalesce(try(decode(bytes)), ' ') as piece,
    coalesce(nullif(lower(trim(piece, E' \t\n\r')), ''), text) as token
from tokens
