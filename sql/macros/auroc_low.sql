-- The lower end of the interval of an AUROC a by its variance, on the logit scale (Pepe 2003), where it keeps its
-- coverage near 1:
--   expit(logit a - z sqrt(variance) / (a (1 - a)))
-- An AUROC of 0 or 1, and a variance of 0 or null, tell no spread: there Wilson's interval of n stands in.
create macro auroc_low(auroc, variance, n, z) as if(
    auroc > 0 and auroc < 1 and variance >= 1e-12,
    1 / (1 + exp(z * sqrt(variance) / (auroc * (1 - auroc)) - ln(auroc / (1 - auroc)))),
    wilson_low(auroc, n, z)
)
