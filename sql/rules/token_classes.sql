-- One row per token of the vocabulary and class that its text belongs to; a space before a word does not count.
with judged as (
    select
        token_id,
        unnest([
            {'token_class': 'lower case', 'is_of': regexp_full_match(text, ' ?\p{Ll}+')},
            {'token_class': 'capitalised', 'is_of': regexp_full_match(text, ' ?\p{Lu}\p{Ll}+')},
            {'token_class': 'upper case', 'is_of': regexp_full_match(text, ' ?\p{Lu}+')},
            {'token_class': 'digits', 'is_of': regexp_full_match(text, ' ?\p{N}+')},
            {'token_class': 'punctuation', 'is_of': regexp_full_match(text, ' ?[\p{P}\p{S}]+')},
            {'token_class': 'after a space', 'is_of': text[1] = ' ' and len(text) > 1}
        ], recursive := true)
    from tokens
    where not is_special
)
select token_id, token_class
from judged
where is_of
