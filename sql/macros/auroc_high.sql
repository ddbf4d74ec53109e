-- The upper end of the interval of an AUROC a, from its variance, on the logit scale (Pepe 2003), where it keeps
-- its coverage near 1:
--   expit(logit a + z sqrt(variance) / (a (1 - a)))
-- Where the AUROC is 0 or 1, or the variance 0 or null, Wilson's interval with n is used instead.
create macro auroc_high(auroc, variance, n, z) as if(
    auroc > 0 and auroc < 1 and variance >= 1e-12,
    1 / (1 + exp(-ln(auroc / (1 - auroc)) - z * sqrt(variance) / (auroc * (1 - auroc)))),
    wilson_high(auroc, n, z)
)
