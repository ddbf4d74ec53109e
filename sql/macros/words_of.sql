-- The words of a text, each once, in lower case: letters and digits that begin with a letter, two at least.
create macro words_of(text) as list_distinct(regexp_extract_all(lower(text), '\p{L}[\p{L}\p{N}_]+'))
