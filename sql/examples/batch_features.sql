-- One row per selected feature of batch $batch, with its place in the batch by draw.
select feature, place
from selected_features
where sae = $sae and batch = $batch
