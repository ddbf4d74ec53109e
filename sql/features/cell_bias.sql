-- One row per step of a grid of expected counts l, l = exp(step * 0.005): the bias f(l) = E[c ln c] - l ln l of a
-- fired cell's term for c ~ Poisson(l) (see feature_positions).
with grid as (
    select step, exp(step * 0.005) as expected
    from range(-2400, 740) as steps (step)
)
select
    step,
    exact_sum(exp(-expected + c * ln(expected) - lgamma(c + 1)) * c * ln(c))
    - any_value(expected * ln(expected)) as bias
from grid, range(2, 110) as counts (c)
group by step
