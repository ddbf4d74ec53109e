-- One row per bin of the activations of feature $feature of SAE $sae: 32 of equal width, from 0 to the largest.
with fired as (
    select activation, max(activation) over () as largest
    from activations
    where sae = $sae and feature = $feature
)
select
    least(floor(activation / largest * 32), 31)::int as bin,
    any_value(largest) as largest,
    count(*) as n
from fired
group by bin
order by bin
