-- One row per unigram candidate to verify and token among its top firings, with p(fire | token) on train
-- documents. Up to max_features candidates are drawn by hash (a hash of a hash: see draw_hash).
with verified as (
    select sae, feature
    from feature_stats
    where is_unigram
    qualify row_number() over (order by hash(draw_hash($seed, (sae, feature, 'scrambled'))), feature)
        <= $scrambling_max_features
)
select
    feature_tokens.feature,
    feature_tokens.token_id,
    feature_tokens.n_active / train_tokens.n_tokens as fire_share
from feature_tokens
semi join verified using (sae, feature)
join train_tokens using (token_id)
where feature_tokens.n_top > 0
