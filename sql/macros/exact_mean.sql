-- The mean of x, nulls left out: the same in any order of the rows.
create macro exact_mean(x) as exact_sum(x) / count(x)
