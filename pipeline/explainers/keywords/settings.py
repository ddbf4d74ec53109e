"""`explaining.keywords`: how many tokens and words, and how they are chosen."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """The tokens and words that distinguish a feature, by SQL: the baseline that a model has to beat."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    n_tokens: Annotated[int, Field(ge=1)] = Field(6, description="Maximum number of tokens")
    n_words: Annotated[int, Field(ge=0)] = Field(6, description="Maximum number of words around them")
    windows: Annotated[int, Field(ge=1)] = Field(
        200,
        description="Maximum number of train windows of a feature in which words are counted, by draw; at most "
        "sampling.draws_per_decile from each decile",
    )
    prior: float = Field(
        100, gt=0, description="Size of the prior, in tokens or windows of the corpus (Monroe et al. 2008)"
    )
    min_z: float = Field(3, ge=0, description="Minimum z-score of a word's log-odds; a token's must exceed 0")
