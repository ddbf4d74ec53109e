"""`explaining.refinement`: the first explainer, the number of rounds, and the windows that judge and are shown."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """An explanation improved with its misses on train windows; the best round is chosen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    of: str = Field(
        "default", description="The explainer to begin with; it must show windows with marks and nothing else"
    )
    rounds: Annotated[int, Field(ge=1, le=10)] = Field(
        2, description="Maximum number of times a better explanation is asked for"
    )
    n_questions: Annotated[int, Field(ge=2, le=50)] = Field(
        10,
        description="Train windows in which the feature fires, and as many silent ones, that judge a round",
    )
    n_misses: Annotated[int, Field(ge=1, le=50)] = Field(
        5,
        description="Maximum number of misses shown of each kind; they come from as many other train windows as "
        "judge a round",
    )

    @property
    def n_judging(self) -> int:
        """Number of train windows of each label that judge or may be shown as misses."""
        return 2 * self.n_questions
