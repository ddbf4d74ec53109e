-- The factor by which the variance grows where answers about one document are correlated (Kish 1965): m is the
-- number of answers about the same document that an answer has on average, itself included, and rho their
-- correlation.
create macro design_effect(m, rho) as 1 + (m - 1) * rho
