-- The upper end of the interval of the mean of two independent estimates p and q, from their own intervals, by
-- MOVER (Zou and Donner 2008):
--   (p + q) / 2 + 1/2 sqrt((p_high - p)^2 + (q_high - q)^2)
create macro mover_high(p, p_high, q, q_high) as
(p + q) / 2 + sqrt(power(p_high - p, 2) + power(q_high - q, 2)) / 2
