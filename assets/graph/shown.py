"""What Dagster shows of a table that was made."""

from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from pipeline.lake import Lake, Published


def materialization(lake: "Lake", published: "Published | list[Published]") -> dg.MaterializeResult[Any]:
    """Row count, figures, sample rows and, for tables that have one, a plot."""
    from pipeline.show.plots import plot_png
    from pipeline.show.terminal import sample_markdown

    parts = published if isinstance(published, list) else [published]
    table = parts[0].table
    metadata: dict[str, Any] = {
        "dagster/row_count": sum(part.n_rows for part in parts),
        "path": dg.MetadataValue.path(parts[0].path),
        "sample": dg.MetadataValue.md(sample_markdown(parts[0])),
    }
    for part in parts:
        metadata |= part.figures
    png = plot_png(lake, table, parts[0])
    if png:
        metadata["plot"] = dg.MetadataValue.md(f"![{table}](data:image/png;base64,{png})")
    return dg.MaterializeResult(metadata=metadata)
