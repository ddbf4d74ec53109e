-- One row per batch with a selected feature, highest priority first.
select sae, batch, max(priority) as priority, count(*) as n_features
from selected_features
group by sae, batch
order by priority desc, batch, sae
