-- The sum of x, or null where any of them is null: a total with a part unknown is not known.
create macro complete_sum(x) as if(count(x) = count(*), exact_sum(x), null)
