-- One row: z, the standard normal quantile at (1 + confidence) / 2, by which every interval is as wide as it is.
-- Acklam's rational approximation (2003), relative error under 1.2e-9; its tail formula holds above p = 0.97575.
with levels as (
    select
        (1 - $scoring_confidence::double) / 2 as tail,
        0.5 - tail as q,
        q * q as r,
        sqrt(-2 * ln(tail)) as s
)
select
    tail,
    if(
        tail < 0.02425,
        -(
            ((((-7.784894002430293e-03 * s - 3.223964580411365e-01) * s - 2.400758277161838e+00) * s
            - 2.549732539343734e+00) * s + 4.374664141464968e+00) * s + 2.938163982698783e+00
        ) / (
            (((7.784695709041462e-03 * s + 3.224671290700398e-01) * s + 2.445134137142996e+00) * s
            + 3.754408661907416e+00) * s + 1e0
        ),
        (
            ((((-3.969683028665376e+01 * r + 2.209460984245205e+02) * r - 2.759285104469687e+02) * r
            + 1.383577518672690e+02) * r - 3.066479806614716e+01) * r + 2.506628277459239e+00
        ) * q / (
            ((((-5.447609879822406e+01 * r + 1.615858368580409e+02) * r - 1.556989798598866e+02) * r
            + 6.680131188771972e+01) * r - 1.328068155288572e+01) * r + 1e0
        )
    ) as z
from levels
