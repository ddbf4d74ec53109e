"""`explaining.with_activations`: the default explainer's settings, with activations shown."""

from typing import ClassVar

from pydantic import Field

from pipeline.sampling import ShowingSettings


class Settings(ShowingSettings):
    """The default explainer, shown each marked token's activation (Juang et al. 2024)."""

    prompts_of: ClassVar[str | None] = "default"

    show_activations: bool = Field(True, description="Write each marked token's activation, 0 to 10, after it")
    show_logits: bool = Field(False, description="Also show the tokens that the feature promotes")
