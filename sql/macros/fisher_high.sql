-- The upper end of the interval of a correlation r that reaches `half` to either side on Fisher's scale (1921):
--   tanh(atanh r + half)
-- Null where r is -1 or 1, which shows no spread.
create macro fisher_high(r, half) as if(abs(r) < 1, tanh(atanh(r) + half), null)
