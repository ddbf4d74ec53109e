"""The report's asset."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.graph.declare import AFTER_BATCHES
from assets.graph.failures import failures_for_people
from assets.graph.keys import asset_key
from pipeline.config import Config

if TYPE_CHECKING:
    from pipeline.show.report import Report

REPORT_JOB = "report"
"""The group of the report, and the job that writes it. No run includes it: `make report` does."""


def report_asset(config: Config) -> dg.AssetsDefinition:
    """The report of an experiment; its pictures are in the asset's metadata."""

    @dg.asset(
        key=asset_key(config, "report"),
        group_name=REPORT_JOB,
        description="The figures of the experiment, with intervals, in one HTML file.",
        kinds={"python"},
        deps=[asset_key(config, table) for table in ("scorer_agreements", "summary")],
        automation_condition=AFTER_BATCHES,
    )
    def report() -> dg.MaterializeResult[Any]:
        from pipeline.show.report import write_report
        from pipeline.sources import recorded_lake

        with failures_for_people():
            return _shown(write_report(recorded_lake(config)))

    return report


def _shown(report: "Report") -> dg.MaterializeResult[Any]:
    import base64

    from pipeline.show.report import REPORT_FILE

    pictures = {
        title: dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})")
        for title, png in report.pictures.items()
    }
    return dg.MaterializeResult(metadata={"path": dg.MetadataValue.path(report.folder / REPORT_FILE), **pictures})
