-- One row per place and way in which SAE $sae was measured: the config's first, then the best.
select *
from sae_fit
where sae = $sae
order by is_configured desc, fvu nulls last, hookpoint, normalisation, weights, prepend_bos
