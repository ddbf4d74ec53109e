-- The standard error of the mean of x. The variance of one value is taken to be at least own_variance, that of its
-- own interval (null where it has none): a few values that happen to be alike do not make their mean certain.
create macro error_of_mean(x, own_variance) as sqrt(
    greatest(exact_variance(x), exact_mean(own_variance)) / count(x)
)
