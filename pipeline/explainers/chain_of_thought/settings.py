"""`explaining.chain_of_thought`: the length of its answer, and what it is shown."""

from typing import Annotated

from pydantic import Field

from pipeline.sampling import ShowingSettings


class Settings(ShowingSettings):
    """Four steps before the explanation (Juang et al. 2024)."""

    max_tokens: Annotated[int, Field(ge=1)] | None = Field(
        600, description="Maximum tokens of an answer, including the steps; a longer one is `truncated`"
    )
    one_line: bool = Field(False, description="End the answer after its first line; true leaves no room for steps")
    show_activations: bool | None = Field(None, description="As explaining.show_activations, for this explainer")
    show_logits: bool = Field(False, description="Also show the tokens that the feature promotes")
