"""`scoring.detection`: no keys of its own; its questions are asked as configured in the section `scoring`."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Does the feature fire in this window? (Juang et al. 2024)"""

    model_config = ConfigDict(frozen=True, extra="forbid")
    scored_as: ClassVar[str] = "population"
