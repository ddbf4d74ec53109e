-- One row per feature and other feature that fires on the same counted tokens more often than by chance, for the
-- first 20 by rank.
-- Features a and b, of n_a and n_b firings among N tokens, fire together on n_a n_b / N of them by chance. The
-- rank is by n_both minus that, which is n_a (P(b | a) - P(b)): by n_both alone, every list would begin with
-- features that fire everywhere.
-- Rows made by pipeline/compiled/cofirings.py: feature_cofirings
with counted as (
    select activations.feature, activations.token_index
    from activations
    semi join cofiring_tokens using (token_index)
),
totals as (
    select feature, count(*) as n_feature from counted group by feature
),
other_totals as (
    select feature as other, n_feature as n_other from totals
),
pairs as (
    select counted.feature, others.feature as other, count(*) as n_both
    from counted
    join counted as others using (token_index)
    where counted.feature <> others.feature
    group by counted.feature, others.feature
),
expected as (
    select
        pairs.*,
        totals.n_feature,
        other_totals.n_other,
        corpus.n_tokens,
        totals.n_feature * other_totals.n_other::double / corpus.n_tokens as n_expected
    from pairs
    cross join (select count(*) as n_tokens from cofiring_tokens) as corpus
    join totals using (feature)
    join other_totals using (other)
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
qualify rank <= 20
order by feature, rank
