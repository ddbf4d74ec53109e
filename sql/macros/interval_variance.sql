-- The variance of an estimate, by the width of its interval at the normal quantile z: ((high - low) / 2z)^2.
create macro interval_variance(low, high, z) as power((high - low) / (2 * z), 2)
