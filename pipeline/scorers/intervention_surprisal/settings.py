"""`scoring.intervention_surprisal`: the model that reads; the rest is configured in `scoring.intervention`."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """Is the explanation more likely after what the model writes with the feature changed? (Paulo et al. 2024)"""

    model_config = ConfigDict(frozen=True, extra="forbid")
    judges: ClassVar[str] = "effect"

    model: str = Field(
        "subject",
        description="A causal language model in this process: `subject`, or a package, folder or hub name",
    )
