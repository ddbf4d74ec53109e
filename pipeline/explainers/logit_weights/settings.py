"""`explaining.logit_weights`: the default explainer's settings, with the promoted tokens shown."""

from typing import ClassVar

from pydantic import Field

from pipeline.sampling import ShowingSettings


class Settings(ShowingSettings):
    """The default explainer, shown the tokens that the feature promotes (Juang et al. 2024)."""

    prompts_of: ClassVar[str | None] = "default"

    show_activations: bool | None = Field(None, description="As explaining.show_activations, for this explainer")
    show_logits: bool = Field(True, description="Show the tokens that the feature promotes")
