"""`scoring.intruder`: how many questions of how many windows, and what the intruder is."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """Which of these windows does not belong? Asked about the features that have controls (2507.08473)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_questions: Annotated[int, Field(ge=1, le=200)] = Field(
        20, description="Questions a feature, the deciles in turn; a decile of too few windows has none"
    )
    n_choices: Annotated[int, Field(ge=3, le=9)] = Field(
        5, description="Windows of a question; guessing finds the intruder in 1 of so many"
    )
    intruder: Literal["silent", "other_decile"] = Field(
        "silent",
        description="A window in which the feature is silent, or one in which it fires, of another decile",
    )

    @property
    def n_windows(self) -> int:
        """Activating test windows that its questions take: for each n_choices, that are in no other question."""
        return -(-self.n_questions // 10) * 10 * self.n_choices
