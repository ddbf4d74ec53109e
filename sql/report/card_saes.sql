-- One row per SAE: its format, size and source, and how well it fits the hookpoint that the config names.
select
    saes.sae,
    saes.hookpoint,
    saes.format,
    saes.architecture,
    saes.d_in,
    saes.n_features,
    saes.source,
    saes.revision,
    saes.weights_hash,
    sae_fit.fvu,
    sae_fit.l0,
    sae_fit.declared_l0,
    sae_fit.dead_share,
    sae_fit.loss_recovered,
    sae_fit.fits
from saes
left join sae_fit on sae_fit.sae = saes.sae and sae_fit.is_configured
order by saes.sae
