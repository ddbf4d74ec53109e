"""`scoring.neighbours`: no keys of its own; its questions are put as the section `scoring` says."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Does the feature fire in this window, or its nearest features alone? (Juang et al. 2024)"""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompts_of: ClassVar[str] = "detection"
