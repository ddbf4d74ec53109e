-- The lower end of the interval of a correlation: the upper end's formula, with -half for half.
create macro fisher_low(r, half) as fisher_high(r, -half)
