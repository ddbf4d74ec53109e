"""Every table of an experiment, made as `make run` makes it."""

import dagster as dg

from assets.graph.build import build_definitions
from assets.graph.keys import asset_key
from assets.graph.lakes import open_lake
from assets.run.steps import missing_steps
from pipeline.config import Config
from pipeline.lake import Lake


def materialise_all(config: Config, instance: dg.DagsterInstance) -> Lake:
    """Every job and partition, as `make run` goes through them."""
    definitions = build_definitions(config)
    for step in missing_steps(config):
        result = definitions.resolve_job_def(step.job).execute_in_process(
            instance=instance,
            partition_key=step.partition,
            asset_selection=[asset_key(config, table) for table in step.tables],
        )
        assert result.success
    return open_lake(config)
