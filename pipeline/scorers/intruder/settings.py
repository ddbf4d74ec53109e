"""`scoring.intruder`: the number of questions, of windows in each, and the kind of intruder."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """Which of these windows does not belong? Asked about the features that have controls (2507.08473)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_questions: Annotated[int, Field(ge=1, le=200)] = Field(
        20, description="Questions per feature, from the deciles in turn; a decile with too few windows has none"
    )
    n_choices: Annotated[int, Field(ge=3, le=9)] = Field(
        5, description="Windows per question; chance is 1 / n_choices"
    )
    intruder: Literal["silent", "other_decile"] = Field(
        "silent",
        description="`silent`: a window in which the feature is silent; `other_decile`: one in which it fires, of "
        "another decile",
    )

    @property
    def n_windows(self) -> int:
        """Number of activating test windows that its questions need: n_choices each, none in two questions."""
        return -(-self.n_questions // 10) * 10 * self.n_choices
