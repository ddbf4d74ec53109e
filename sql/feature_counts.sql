-- One row per feature that fires: counts and quantiles over all documents, position 0 included.
select
    feature,
    count(*) as n_active,
    count(*) filter (position = 0) as n_active_first,
    max(activation) as max_activation,
    avg(activation::double) as mean_activation,
    quantile_disc(activation, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]) as activation_deciles
from activations
group by feature
