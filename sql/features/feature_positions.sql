-- One row per feature that fires: mutual information of firing and position in the context, in nats, of all
-- documents, which is the post's figure; and where is_train, of train documents without position 0, which no
-- example and no rule has either: the one that routes.
-- With c firings at a position, S contexts that reach it, n = sum c, N = sum S (Voita et al. 2023, arXiv
-- 2309.04827, with the contexts' unequal lengths in S):
--   I = sum over positions [ c ln(c N / (n S)) + (S - c) ln((S - c) N / ((N - n) S)) ] / N
-- A position that never fires gives S ln(N / (N - n)). The plug-in is biased upwards; its expectation under
-- independence with the same margins is taken off. With l = n S / N expected firings at a position, a fired
-- cell adds f(l) = E[c ln c] - l ln l for c ~ Poisson(l), 1/2 + 1/(12 l) for large l; the cells that did not
-- fire add n (P - 1) / (2 N) together, by their variance (Miller and Madow 1955). Both shrink with the
-- finite population, by (1 - n/N) and (1 - S/N).
-- The table cell_bias holds f.
with counts as (
    select false as is_train, feature, position, n_fired from position_counts
    union all
    select true as is_train, feature, position, n_fired_train from position_counts where n_fired_train > 0
),
margins as (
    select is_train, feature, sum(n_fired) as n_active from counts group by is_train, feature
),
fired_cells as (
    select
        counts.is_train,
        counts.feature,
        exact_sum(
            n_fired * ln(n_fired * n_all / (n_active * n_reached))
            + if(
                n_reached > n_fired,
                (n_reached - n_fired) * ln((n_reached - n_fired) * n_all / ((n_all - n_active) * n_reached)),
                0
            )
        ) as information,
        sum(n_reached) as n_reached
    from counts
    join margins using (is_train, feature)
    join reached_positions using (is_train, position)
    group by counts.is_train, counts.feature
),
counts_of_firings as (
    select distinct is_train, n_active from margins
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
        margins.is_train,
        margins.feature,
        margins.n_active / n_all as density,
        if(
            margins.n_active < n_all,
            (fired_cells.information + (n_all - fired_cells.n_reached) * ln(n_all / (n_all - margins.n_active)))
            / n_all,
            0
        ) as information,
        biases.bias / n_all as bias
    from margins
    join fired_cells using (is_train, feature)
    join biases using (is_train, n_active)
    join (select is_train, any_value(n_all) as n_all from reached_positions group by is_train) using (is_train)
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
