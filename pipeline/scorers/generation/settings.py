"""`scoring.generation`: how many texts are written, and how much of each is read."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """Does the feature fire in texts that are written by the explanation? (Juang et al. 2024)"""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_texts: Annotated[int, Field(ge=2, le=50)] = Field(
        10, description="Texts that should fire (post: 10), and as many near misses, in one answer"
    )
    max_tokens: Annotated[int, Field(ge=8)] = Field(
        64, description="Tokens of a text that are read; the answer may have as many for each text"
    )
