-- One row per SAE and stretch of 16 positions: how often feature 5 fires in it, and how strongly on average.
select sae, position // 16 * 16 as from_position, count(*) as n, round(avg(activation), 1) as mean_activation
from activations
where feature = 5
group by sae, from_position
order by sae, from_position
