"""`explaining.best_of_k`: the explainer to draw from, the number of draws, and the windows that judge them."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Settings(BaseModel):
    """Several explanations by another explainer; the best one on train windows is chosen."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    of: str = Field("default", description="The explainer to draw from, with its own settings")
    k: Annotated[int, Field(ge=2, le=32)] = Field(4, description="Draws")
    temperature: float = Field(
        1.0, ge=0, description="Sampling temperature of the draws, above 0; overrides explaining.temperature"
    )
    n_questions: Annotated[int, Field(ge=2, le=50)] = Field(
        10,
        description="Train windows in which the feature fires, and as many silent ones, that judge a draw",
    )

    @field_validator("temperature")
    @classmethod
    def _draws_differ(cls, temperature: float) -> float:
        if temperature == 0:
            raise ValueError("at temperature 0 all draws are the same answer, paid for k times; set it above 0")
        return temperature

    @property
    def n_judging(self) -> int:
        """Number of train windows of each label that judge."""
        return self.n_questions
