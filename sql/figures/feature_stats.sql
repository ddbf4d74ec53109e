-- One row per figure of feature_stats: how many features the heuristics flag.
select
    unnest(['dead', 'firings', 'positional_raw_cut', 'unigram_flag', 'previous_token_flag']) as figure,
    unnest([
        count(*) filter (n_active = 0), sum(n_active)::bigint, count(*) filter (is_positional),
        count(*) filter (is_unigram), count(*) filter (is_previous_token)
    ]) as value
from feature_stats
