-- One row per selected feature of batch $batch, with its rank in the batch by draw.
select feature, place
from selected_features
where sae = $sae and batch = $batch
