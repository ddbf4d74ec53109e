-- One row per feature that fires in train documents (position 0 left out): the activation at which its top share
-- of firings begins (a negative quantile counts from the top: the ceil(share n)-th strongest), and that at which
-- its strong firings begin: 30 % of its largest there.
-- Rows made by pipeline/compiled/counting.py: Counts.feature_cuts
select
    feature,
    quantile_disc(activation, -$heuristics_top_share) as top_cut,
    max(activation) as max_activation,
    0.3::double * max(activation) as strong_cut
from firings
where is_train and position >= 1
group by feature
