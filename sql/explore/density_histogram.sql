-- One row per bin of the density of the features of SAE $sae that ever fire: 32 bins of equal width on a
-- logarithmic scale from a millionth to 1.
select
    clamp(floor((log10(density) + 6) / 6 * 32), 0, 31)::int as bin,
    count(*) as n
from feature_index
where sae = $sae and density > 0
group by bin
order by bin
