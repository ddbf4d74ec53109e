-- One row per selected feature of batch $batch, with its place in the batch by draw.
select feature, row_number() over (order by hash($seed::bigint, sae, feature::int, 'batch'), feature) as place
from selected_features
where sae = $sae and batch = $batch
