-- One row per feature and other feature that fires on the same counted tokens more often than by chance: for every
-- feature the $heuristics_cofiring_features first by rank.
-- Features a and b, of n_a and n_b firings among N tokens, fire together on n_a n_b / N of them by chance. The rank
-- is by n_both minus that, which is n_a (P(b | a) - P(b)): by n_both alone, every list would begin with features
-- that fire everywhere.
-- Rows made by pipeline/compiled/cofirings.py: feature_cofirings
with counted as (
    select activations.feature, activations.token_index
    from activations
    semi join cofiring_tokens using (token_index)
),
totals as (
    select feature, count(*) as n_firings from counted group by feature
),
pairs as (
    select own.feature, others.feature as other, count(*) as n_both
    from counted as own
    join counted as others using (token_index)
    where own.feature <> others.feature
    group by own.feature, others.feature
),
expected as (
    select
        pairs.*,
        own.n_firings as n_feature,
        others.n_firings as n_other,
        corpus.n_tokens,
        own.n_firings * others.n_firings::double / corpus.n_tokens as n_expected
    from pairs
    cross join (select count(*) as n_tokens from cofiring_tokens) as corpus
    join totals as own on own.feature = pairs.feature
    join totals as others on others.feature = pairs.other
)
select
    $sae as sae,
    feature,
    other,
    row_number() over (partition by feature order by n_both - n_expected desc, other)::int as rank,
    n_both,
    n_expected,
    n_feature,
    n_other,
    n_tokens
from expected
where n_both > n_expected
qualify rank <= $heuristics_cofiring_features
order by feature, rank
