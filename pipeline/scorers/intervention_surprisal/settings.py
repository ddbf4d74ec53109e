"""`scoring.intervention_surprisal`: whose surprise is read; the rest stands in `scoring.intervention`."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """Is the explanation likelier behind what the model writes when its feature is changed? (Paulo et al. 2024)"""

    model_config = ConfigDict(frozen=True, extra="forbid")
    judges: ClassVar[str] = "effect"

    model: str = Field(
        "subject",
        description="A causal language model in this process: `subject`, or a package, folder or hub name",
    )
