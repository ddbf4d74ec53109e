-- One row per 32nd of the context: how often feature $feature of SAE $sae fires in it.
select (position * 32 // context_length())::int as bin, count(*) as n
from activations
where sae = $sae and feature = $feature
group by bin
order by bin
