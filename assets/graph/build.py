"""The graph of one experiment: the assets of its tables, their checks, one job per group, a schedule, a sensor."""

from typing import get_args

import dagster as dg

from assets.graph.checks import checks_of
from assets.graph.declare import table_asset
from assets.graph.history import lake_tag
from assets.graph.schedules import next_feature_batches
from assets.graph.sensors import JOBS_OF_A_GENERATION, new_documents
from assets.share import REPORT_JOB, report_asset
from pipeline.config import Config
from pipeline.tables import TABLES, Group
from pipeline.tables.inputs import is_made
from pipeline.tables.stages import STAGES
from pipeline.tables.versions import SourceHashes, Versions

JOBS: tuple[Group, ...] = get_args(Group)
"""One job per group: assets of different partitions cannot share a job."""

_DESCRIPTIONS = {
    "corpus": "Read the corpus, cut it into contexts, and check that each SAE fits its hookpoint.",
    "cache": "Run the subject model and its SAEs over one shard of the corpus, and store every firing.",
    "prepare": "Statistics, rules, routes and examples of all features of one SAE. Sends no LLM requests.",
    "pilot": "Score a few features of one SAE, to estimate how correlated answers about one document are.",
    "explain_and_score": "Explain and score a batch of features of one SAE. Sends LLM requests and costs money.",
    REPORT_JOB: "Write the report: all figures of the experiment in one HTML file.",
}


def build_definitions(config: Config) -> dg.Definitions:
    """Everything that Dagster loads for an experiment. Imports nothing heavy."""
    tables = [TABLES[name] for name in STAGES if is_made(config, name)]
    versions = Versions(config, SourceHashes())  # of definitions only, which are known before any file is read
    jobs = {
        group: dg.define_asset_job(
            group, dg.AssetSelection.groups(group), description=_DESCRIPTIONS[group], run_tags=lake_tag(config)
        )
        for group in (*JOBS, REPORT_JOB)
    }
    return dg.Definitions(
        assets=[*(table_asset(config, table, versions) for table in tables), report_asset(config)],
        asset_checks=checks_of(config, tables),
        jobs=list(jobs.values()),
        schedules=[next_feature_batches(config)],
        sensors=[new_documents(config, [jobs[group] for group in JOBS_OF_A_GENERATION])],
        executor=dg.in_process_executor,
    )
