-- One row per figure of context_independence: the share of all features, and the candidates verified.
select 'share_of_features_at_' || threshold as figure, round(share_of_features, 4) as value
from context_independence
where threshold in (0.1, 0.5, 0.9)
union all
select 'candidates_verified', max(n_verified) from context_independence
