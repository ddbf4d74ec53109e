-- The lower end of the interval of a rate p of n, of Wilson (1927): the upper end's formula, with -z for z.
create macro wilson_low(p, n, z) as wilson_high(p, n, -z)
