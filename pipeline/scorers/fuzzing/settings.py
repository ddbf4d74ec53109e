"""`scoring.fuzzing`: no keys of its own; its questions are asked as configured in the section `scoring`."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Are the right tokens of this window marked? (Juang et al. 2024)"""

    model_config = ConfigDict(frozen=True, extra="forbid")
