-- The lower end of the interval of the mean of two independent estimates p and q, from their own intervals, by
-- MOVER (Zou and Donner 2008):
--   (p + q) / 2 - 1/2 sqrt((p - p_low)^2 + (q - q_low)^2)
create macro mover_low(p, p_low, q, q_low) as
(p + q) / 2 - sqrt(power(p - p_low, 2) + power(q - q_low, 2)) / 2
