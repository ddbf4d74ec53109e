"""The report: reference figures."""

from typing import Literal

from pydantic import Field

from pipeline.config.section import Section


class ReportConfig(Section):
    """Reference figures in the report; in no stage hash."""

    beside: Literal["post"] | None = Field(
        None,
        description="Published figures shown beside the experiment's own: `post`, those of Juang et al. "
        "(EleutherAI, July 2024)",
    )
