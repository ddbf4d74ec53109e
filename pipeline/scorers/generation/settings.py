"""`scoring.generation`: the number of texts written, and the tokens read of each."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """Does the feature fire in texts that are written from the explanation? (Juang et al. 2024)"""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_texts: Annotated[int, Field(ge=2, le=50)] = Field(
        10,
        description="Texts in which the feature should fire (post: 10), and as many near misses, in one answer, "
        "which is asked for again (`max_draws`) only if fewer than `min_coverage` of them can be judged",
    )
    max_tokens: Annotated[int, Field(ge=8)] = Field(
        64, description="Maximum tokens read of each text; the answer may have as many per text"
    )
