-- The lower end of Wilson's (1927) interval of a rate p of n: the upper end's formula, with -z for z.
create macro wilson_low(p, n, z) as wilson_high(p, n, -z)
