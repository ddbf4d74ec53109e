-- One row per feature of the batch that fires in train documents: the tokens that it fires on and the words around
-- them that are distinctive against the corpus, as a sentence.
-- For a token, in lower case and without spaces: n_own of the feature's n_all_own strong firings are on it, and it
-- makes up n of the n_all tokens of the train documents. For a word: it occurs in n_own of the feature's n_all_own
-- windows, and in n of the n_all train slots; once per window, as a text that repeats a word adds little evidence.
-- Both are ranked by log-odds with an informative Dirichlet prior of the corpus's own shares (Monroe et al. 2008,
-- eq. 16 to 22):
--   a = prior n / n_all, o1 = (n_own + a) / (n_all_own + prior - n_own - a),
--   o2 the same for what is not the feature's,
--   z = (ln o1 - ln o2) / sqrt(1 / (n_own + a) + 1 / (n - n_own + a))
with fired_tokens as (
    select feature, token, sum(n_strong) as n_own
    from feature_tokens
    semi join batch_features using (feature)
    join token_pieces using (token_id)
    group by feature, token
    having sum(n_strong) > 0
),
windows as (
    select feature, slot, context_id, start, n_tokens
    from batch_index
    where role = 'train' and draw <= least($explaining_keywords_windows, 10 * $sampling_draws_per_decile)
),
slot_tokens as (
    select
        slot,
        unnest(contexts.token_ids[own.start + 1 : own.start + own.n_tokens]) as token_id,
        unnest(range(own.n_tokens)) as position
    from (select distinct slot, context_id, start, n_tokens from windows) as own
    join contexts using (context_id)
),
slot_texts as (
    select slot, string_agg(piece, '' order by position) as slot_text
    from slot_tokens
    join token_pieces using (token_id)
    group by slot
),
slot_words as (
    select slot, unnest(words_of(slot_text)) as word
    from slot_texts
),
window_counts as (
    select feature, count(*) as n_windows
    from windows
    group by feature
),
window_words as (
    select feature, word, count(*) as n_own
    from windows
    join slot_words using (slot)
    group by feature, word
),
counted as (
    select
        'token' as kind,
        feature,
        token as keyword,
        n_own,
        train_words.n,
        sum(n_own) over (partition by feature) as n_all_own,
        (select sum(n) from train_words where kind = 'token') as n_all
    from fired_tokens
    join train_words on train_words.kind = 'token' and train_words.word = fired_tokens.token
    union all
    select
        'word' as kind,
        window_words.feature,
        window_words.word,
        window_words.n_own,
        train_words.n,
        window_counts.n_windows,
        (select count(*) from candidate_slots where role = 'train')
    from window_words
    join train_words on train_words.kind = 'word' and train_words.word = window_words.word
    join window_counts using (feature)
),
judged as (
    select
        kind,
        feature,
        keyword,
        $explaining_keywords_prior::double * n / n_all as a,
        ln((n_own + a) / (n_all_own + $explaining_keywords_prior::double - n_own - a))
        - ln((n - n_own + a) / (n_all - n_all_own + $explaining_keywords_prior::double - n + n_own - a))
            as log_odds,
        log_odds / sqrt(1 / (n_own + a) + 1 / (n - n_own + a)) as z
    from counted
),
tokens_that_stand_out as (
    select *, row_number() over (partition by feature order by z desc, keyword) as rank
    from judged
    where kind = 'token' and z > 0
    qualify rank <= $explaining_keywords_n_tokens
),
words_that_stand_out as (
    -- A word that begins with one of the tokens adds nothing.
    select *, row_number() over (partition by feature order by z desc, keyword) as rank
    from judged
    where
        kind = 'word'
        and z >= $explaining_keywords_min_z::double
        and not exists (
            from tokens_that_stand_out
            where tokens_that_stand_out.feature = judged.feature
                and starts_with(judged.keyword, tokens_that_stand_out.keyword)
        )
    qualify rank <= $explaining_keywords_n_words
),
keywords as (
    select * from tokens_that_stand_out
    union all
    select * from words_that_stand_out
),
listed as (
    select
        feature,
        string_agg(to_json(keyword)::varchar, ', ' order by rank) filter (kind = 'token') as token_list,
        string_agg(to_json(keyword)::varchar, ', ' order by rank) filter (kind = 'word') as word_list
    from keywords
    group by feature
)
select feature, 'fires on ' || token_list || coalesce('; among the words ' || word_list, '') as explanation
from listed
where token_list is not null
order by feature
