-- One row per SAE: the columns of saes, the numbers of features that are selected, explained and scored, and the
-- number of batches.
with explained as (
    select sae, count(distinct feature) as n_explained
    from explanation_index
    where is_shown
    group by sae
),
scored as (
    select sae, count(distinct feature) as n_scored
    from score_index
    where value is not null
    group by sae
),
wanted as (
    select sae, count(*) as n_selected, count(distinct batch) as n_batches
    from selected_features
    group by sae
)
select
    saes.*,
    coalesce(wanted.n_selected, 0) as n_selected,
    coalesce(wanted.n_batches, 0) as n_batches,
    coalesce(explained.n_explained, 0) as n_explained,
    coalesce(scored.n_scored, 0) as n_scored
from saes
left join wanted using (sae)
left join explained using (sae)
left join scored using (sae)
order by saes.sae
