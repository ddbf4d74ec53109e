"""`explaining.refinement`: where it begins, how many rounds, and how many windows judge and are shown."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """An explanation made better by what it got wrong on train windows; the best of the rounds is chosen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    of: str = Field("default", description="The explainer that begins; it has to show windows with marks")
    rounds: Annotated[int, Field(ge=1, le=10)] = Field(2, description="Times a better one is asked for, at most")
    n_questions: Annotated[int, Field(ge=2, le=50)] = Field(
        10,
        description="Train windows in which it fires, and as many in which it does not, that judge a round",
    )
    n_misses: Annotated[int, Field(ge=1, le=50)] = Field(
        5,
        description="Misses shown of each kind, at most; they are of as many other train windows as judge",
    )

    @property
    def n_judging(self) -> int:
        """Train windows of each answer that judge or may be shown as misses."""
        return 2 * self.n_questions
