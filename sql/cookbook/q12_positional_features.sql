-- One row per feature: which features depend on the position in the context, from the second token on? And how
-- many of their firings are on the first token?
select
    sae,
    feature,
    n_active,
    round(position_score, 3) as position_score,
    round(position_information_nats, 4) as information_nats,
    round(n_active_first / n_active, 2) as share_on_the_first
from feature_stats
where n_active_train >= 100
order by position_score desc, feature
