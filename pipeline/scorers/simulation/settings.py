"""`scoring.simulation`: how activations are simulated, and on which windows."""

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """How strongly does the feature fire on each token? (Bills et al. 2023)"""

    model_config = ConfigDict(frozen=True, extra="forbid")
    scored_as: ClassVar[str] = "activations"

    method: Literal["auto", "all_at_once", "structured", "local"] = Field(
        "auto",
        description="`all_at_once`: expected values from the log-probabilities of a prompt, which servers such as "
        "vLLM return; `local`: the same from a model in this process; `structured`: integers as JSON, from any "
        "server; `auto`: the first of these that is possible",
    )
    n_top: int = Field(
        5,
        ge=0,
        le=50,
        description="Test windows in which the feature fires most strongly; at most sampling.top_examples",
    )
    n_drawn: int = Field(
        5,
        ge=0,
        le=50,
        description="Test windows drawn over its deciles, and as many silent ones; at most scoring.n_questions",
    )
