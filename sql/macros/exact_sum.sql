-- The sum of x, below 1e23, to 15 decimal places: added as decimals, so that it is the same in any order of the
-- rows.
create macro exact_sum(x) as sum(x::decimal(38, 15))::double
