"""The report: what stands beside its figures."""

from typing import Literal

from pydantic import Field

from pipeline.config.section import Section


class ReportConfig(Section):
    """What the report shows beside the experiment's own figures; in no stage hash."""

    beside: Literal["post"] | None = Field(
        None,
        description="Published figures beside the experiment's own: `post`, those of Juang et al. (EleutherAI, "
        "July 2024)",
    )
