"""`explaining.contrastive`: how many silent texts it is shown, and what else."""

from typing import Annotated

from pydantic import Field

from pipeline.sampling import ShowingSettings


class Settings(ShowingSettings):
    """The difference between firing texts and similar silent ones."""

    n_silent: Annotated[int, Field(ge=1, le=100)] = Field(
        10, description="Maximum number of silent train windows shown, of kinds `same_token` and `neighbour`"
    )
    show_activations: bool | None = Field(None, description="As explaining.show_activations, for this explainer")
    show_logits: bool = Field(False, description="Also show the tokens that the feature promotes")
