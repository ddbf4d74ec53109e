"""`explaining.output_centric`: room for its answer; it shows no windows."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """What the feature promotes and suppresses, without any window (VocabProj, Gur-Arieh et al. 2025)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_tokens: Annotated[int, Field(ge=1)] | None = Field(
        None, description="As explaining.max_tokens, for this explainer"
    )
