"""`explaining.with_activations`: the default explainer with the strengths of the marked tokens."""

from typing import ClassVar

from pydantic import Field

from pipeline.sampling import ShowingSettings


class Settings(ShowingSettings):
    """The default explainer, shown each marked token's strength (Juang et al. 2024)."""

    prompts_of: ClassVar[str | None] = "default"

    show_activations: bool = Field(True, description="Write each marked token's activation, 0 to 10, after it")
    show_logits: bool = Field(False, description="Show the tokens that the feature promotes, too")
