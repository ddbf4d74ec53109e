-- The variance of x, sum (x - mean)^2 / (n - 1): the same in any order of the rows, as they are sorted first.
create macro exact_variance(x) as list_var_samp(list_sort(list(x)))
