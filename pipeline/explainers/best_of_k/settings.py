"""`explaining.best_of_k`: which explainer draws how often, and how many windows judge its draws."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Settings(BaseModel):
    """Several explanations by another explainer, of which the best on train windows is chosen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    of: str = Field("default", description="The explainer that draws; it shows and asks as by its own settings")
    k: Annotated[int, Field(ge=2, le=32)] = Field(4, description="Draws")
    temperature: float = Field(1.0, ge=0, description="Of the draws, in place of explaining.temperature; above 0")
    n_questions: Annotated[int, Field(ge=2, le=50)] = Field(
        10,
        description="Train windows in which it fires, and as many in which it does not, that judge a draw",
    )

    @field_validator("temperature")
    @classmethod
    def _draws_differ(cls, temperature: float) -> float:
        if temperature == 0:
            raise ValueError("at temperature 0 all draws are the same answer, bought k times; set it above 0")
        return temperature

    @property
    def n_judging(self) -> int:
        """Train windows of each answer that judge."""
        return self.n_questions
