-- One row per scorer and explainer: are weak firings harder to predict than strong ones?
select
    scorer,
    explainer,
    round(avg(value) filter (where stratum in ('decile 1', 'decile 2', 'decile 3')), 2) as weakest_three,
    round(avg(value) filter (where stratum in ('decile 8', 'decile 9', 'decile 10')), 2) as strongest_three,
    count(distinct row(sae, feature)) as n_features
from score_details
where role = 'test' and metric = 'accuracy' and weighting = 'sample'
group by scorer, explainer
having weakest_three is not null or strongest_three is not null
order by scorer, explainer
