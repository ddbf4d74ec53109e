-- One row per SAE: is the SAE read at the right hookpoint, and how much of the variance and loss does it keep?
select
    saes.sae,
    saes.hookpoint,
    saes.format,
    saes.n_features,
    round(sae_fit.fvu, 3) as fvu,
    round(sae_fit.l0, 1) as l0,
    sae_fit.declared_l0,
    round(sae_fit.loss_recovered, 3) as loss_recovered,
    sae_fit.fits,
    left(saes.weights_hash, 12) as weights_hash
from saes
left join sae_fit on sae_fit.sae = saes.sae and sae_fit.is_configured
order by saes.sae
