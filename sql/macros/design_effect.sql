-- How many times the variance is larger where answers about one document go together (Kish 1965): m answers of its
-- document an answer has on average, with the correlation rho.
create macro design_effect(m, rho) as 1 + (m - 1) * rho
