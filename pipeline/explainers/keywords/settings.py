"""`explaining.keywords`: how many tokens and words, and what stands out."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """The tokens and words by which a feature stands out, by SQL: the baseline that a model has to beat."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_tokens: Annotated[int, Field(ge=1)] = Field(6, description="Tokens at most")
    n_words: Annotated[int, Field(ge=0)] = Field(6, description="Words around them at most")
    windows: Annotated[int, Field(ge=1)] = Field(
        200,
        description="Train windows of a feature in which words are counted, by draw, at most; of each decile no "
        "more than sampling.draws_per_decile",
    )
    prior: float = Field(
        100, gt=0, description="Size of the prior, in tokens or windows of the corpus (Monroe et al. 2008)"
    )
    min_z: float = Field(3, ge=0, description="Least z of a word's log-odds; that of a token is above 0")
