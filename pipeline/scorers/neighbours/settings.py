"""`scoring.neighbours`: no keys of its own; its questions are asked as configured in the section `scoring`."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Does the feature fire in this window, or only its nearest features? (Juang et al. 2024)"""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompts_of: ClassVar[str] = "detection"
