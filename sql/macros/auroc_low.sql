-- The lower end of the interval of an AUROC: the upper end's formula, with -z for z.
create macro auroc_low(auroc, variance, n, z) as auroc_high(auroc, variance, n, -z)
