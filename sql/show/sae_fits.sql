-- One row per hookpoint and way of reading that was measured for SAE $sae, or for every SAE if it is null: of each
-- the config's first, then the best, then those whose fit was too poor to be measured on as many tokens.
select *
from sae_fit
where sae = coalesce($sae, sae)
order by sae, is_configured desc, n_tokens desc, fvu nulls last, hookpoint, normalisation, weights, prepend_bos
