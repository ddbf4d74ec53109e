-- One row per feature of the pilot, with the columns of selected_features: the first scoring.pilot_features
-- features in the order of the draw, batch by batch, of the batches that a run explains first.
with batches as (
    select *
    from selected_batches
    where sae = $sae
    order by priority desc, batch
    limit $selection_batches_per_run
)
select selected_features.*
from selected_features
semi join batches using (sae, batch)
join (select batch, priority as batch_priority from batches) as priorities using (batch)
order by batch_priority desc, batch, place
limit $scoring_pilot_features
