-- One row per scorer and explainer: are weak firings harder to predict than strong ones?
select
    scorer,
    explainer,
    round(avg(value) filter (where decile <= 3), 2) as weakest_three,
    round(avg(value) filter (where decile >= 8), 2) as strongest_three,
    count(distinct row(sae, feature)) as n_features
from score_details
where role = 'test' and metric = 'accuracy' and weighting = 'sample'
group by scorer, explainer
having weakest_three is not null or strongest_three is not null
order by scorer, explainer
