-- One row per token: the piece of text that it is, and the token in letters of one case and without its spaces.
-- A token that is a part of a character ends a word. Spaces and line ends alone are spelled.
select
    token_id,
    coalesce(try(decode(bytes)), ' ') as piece,
    coalesce(nullif(lower(trim(piece, E' \t\n\r')), ''), text) as token
from tokens
