"""`latentlake run --on ray://…`: the same jobs on a Ray cluster, each partition a Dagster run on a node with room.

dagster-ray starts the runs as Ray jobs (`RayRunLauncher`), one process per partition. It requests a GPU if the job
runs a model and the cluster has GPUs, and CPUs otherwise. As many partitions of a job run at once as there is room
for; jobs follow each other as they do in one process. A run whose process or node died is sent again.
"""

from assets.run.ray.connecting import checked_address
from assets.run.ray.materialise import materialise_on

__all__ = ["checked_address", "materialise_on"]
