-- One row per place and way in which SAE $sae was measured: the config's first, then the best, then those too far
-- off to be measured on as many tokens.
select *
from sae_fit
where sae = $sae
order by is_configured desc, n_tokens desc, fvu nulls last, hookpoint, normalisation, weights, prepend_bos
