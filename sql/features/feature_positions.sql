-- One row per feature that fires: the mutual information of firing and position in the context, in nats. Of all
-- documents, as in the post; and where is_train, of train documents without position 0, which no example and no
-- rule has: this one decides the route.
-- With c firings at a position, S contexts that reach it, n = sum c, N = sum S (Voita et al. 2023, arXiv
-- 2309.04827, with the contexts' unequal lengths in S):
--   I = sum over positions [ c ln(c N / (n S)) + (S - c) ln((S - c) N / ((N - n) S)) ] / N
--     = (sum over positions with firings [ c ln c + (S - c) ln(S - c) - S ln S ]
--        + n ln(N / n) + (N - n) ln(N / (N - n))) / N
-- This plug-in estimate is biased upwards, so its expectation under independence with the same margins is
-- subtracted. With l = n S / N firings expected at a position, a cell with firings adds
-- f(l) = E[c ln c] - l ln l for c ~ Poisson(l), which is 1/2 + 1/(12 l) for large l (table cell_bias). The cells
-- without firings add n (P - 1) / (2 N) together, by their variance (Miller and Madow 1955). Both shrink with the
-- finite population, by (1 - n/N) and (1 - S/N).
with counts as (
    select false as is_train, feature, position, n_fired from position_counts
    union all
    select true as is_train, feature, position, n_fired_train from position_counts where n_fired_train > 0
),
positions as (
    select *, n_reached * ln(n_reached) as whole from reached_positions
),
fired_cells as (
    select
        counts.is_train,
        counts.feature,
        sum(n_fired) as n_active,
        any_value(n_all) as n_all,
        exact_sum(
            n_fired * ln(n_fired)
            + if(n_reached > n_fired, (n_reached - n_fired) * ln(n_reached - n_fired), 0)
            - whole
        ) as terms
    from counts
    join positions using (is_train, position)
    group by counts.is_train, counts.feature
),
counts_of_firings as (
    select distinct is_train, n_active from fired_cells
),
expected_cells as (
    select is_train, n_active, n_all, n_reached, n_active * n_reached / n_all as expected
    from counts_of_firings
    join reached_positions using (is_train)
),
biases as (
    select
        is_train,
        n_active,
        exact_sum(
            coalesce(bias, if(expected > 1, 0.5 + 1 / (12 * expected), -expected * ln(expected)))
            * (1 - n_active / n_all) * (1 - n_reached / n_all)
        )
        + any_value(n_active / n_all) * (count(*) - 1) / 2 as bias
    from expected_cells
    left join cell_bias on step = round(ln(expected) / 0.005)::int
    group by is_train, n_active
),
joined as (
    select
        is_train,
        feature,
        n_active / n_all as density,
        if(
            n_active < n_all,
            (terms + n_active * ln(n_all / n_active) + (n_all - n_active) * ln(n_all / (n_all - n_active)))
            / n_all,
            0
        ) as information,
        biases.bias / n_all as bias
    from fired_cells
    join biases using (is_train, n_active)
)
select
    is_train,
    feature,
    information as position_information_nats,
    bias as position_bias_nats,
    if(
        density < 1,
        (information - bias) / -(density * ln(density) + (1 - density) * ln(1 - density)),
        0
    ) as position_score
from joined
