-- The words of a text, each once, in lower case: at least two characters, of letters, digits and underscores,
-- starting with a letter.
create macro words_of(text) as list_distinct(regexp_extract_all(lower(text), '\p{L}[\p{L}\p{N}_]+'))
