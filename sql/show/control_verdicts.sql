-- One row per scorer of SAE $sae that judged controls: the mean score of another feature's explanation over the
-- features of all routes, and a verdict. Routes' intervals are combined by MOVER; a route without one (under 3
-- features) is left out, and n_left_out counts its features.
--   above chance     the interval is above chance: the scorer tells the windows apart without the right words
--   at chance        it is not, and ends at most 0.1 above chance
--   too few to tell  it extends further, or there is none
with pooled as (
    select
        scorer,
        -- It is a mean of 1 / n_choices over features, whose last digit may differ between routes.
        any_value(chance) as chance,
        sum(n_features) filter (ci_low is not null)::bigint as n,
        sum(n_features) filter (ci_low is null)::bigint as n_left_out,
        sum(n_features * mean) filter (ci_low is not null) / n as mean_of_all,
        sqrt(sum(power(n_features * (mean - ci_low), 2))) / n as below,
        sqrt(sum(power(n_features * (ci_high - mean), 2))) / n as above
    from summary
    where sae = $sae and explainer = 'other_feature'
    group by scorer
)
select
    scorer,
    coalesce(n, 0) as n_features,
    coalesce(n_left_out, 0) as n_left_out,
    mean_of_all as mean,
    mean_of_all - below as low,
    mean_of_all + above as high,
    case
        when low > chance then 'above chance' when high <= chance + 0.1 then 'at chance' else 'too few to tell'
    end as verdict
from pooled
order by scorer
