-- The upper end of Wilson's (1927) interval of a rate p of n, at the normal quantile z:
--   (p + z^2 / 2n + z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)
create macro wilson_high(p, n, z) as clamp(
    (p + z * z / n / 2 + z * sqrt(p * (1 - p) / n + z * z / n / (4 * n))) / (1 + z * z / n), 0, 1
)
