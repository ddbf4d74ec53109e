"""`scoring.graded`: how many windows are graded per prompt."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """How well does this window fit the explanation: 0, 1 or 2? (FADE, Puri et al. 2025)"""

    model_config = ConfigDict(frozen=True, extra="forbid")
    scored_as: ClassVar[str] = "grades"

    windows_per_prompt: int = Field(20, ge=1, le=50, description="Windows per prompt (FADE: 15)")
