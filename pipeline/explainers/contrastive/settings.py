"""`explaining.contrastive`: how many close texts it is shown, and what else."""

from typing import Annotated

from pydantic import Field

from pipeline.sampling import ShowingSettings


class Settings(ShowingSettings):
    """Firing texts and close silent ones, told apart."""

    n_silent: Annotated[int, Field(ge=1, le=100)] = Field(
        10, description="Silent train windows of kinds `same_token` and `neighbour` that it is shown, at most"
    )
    show_activations: bool | None = Field(None, description="As explaining.show_activations, for this explainer")
    show_logits: bool = Field(False, description="Show the tokens that the feature promotes, too")
