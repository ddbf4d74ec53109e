"""What Dagster shows of a table that was made."""

from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from pipeline.lake import Published


def materialization(published: "Published") -> dg.MaterializeResult[Any]:
    """Row count, figures, sample rows and, for tables that have one, a plot."""
    from pipeline.show.plots import plot_png
    from pipeline.show.terminal import sample_markdown

    metadata: dict[str, Any] = {
        "dagster/row_count": published.n_rows,
        "path": dg.MetadataValue.path(published.path),
        "sample": dg.MetadataValue.md(sample_markdown(published)),
        **published.figures,
    }
    if png := plot_png(published):
        metadata["plot"] = dg.MetadataValue.md(f"![{published.table}](data:image/png;base64,{png})")
    return dg.MaterializeResult(metadata=metadata)
