"""`explaining.combined`: what it is shown besides the tokens that the feature promotes."""

from pydantic import Field

from pipeline.sampling import ShowingSettings


class Settings(ShowingSettings):
    """Fires on ...; promotes ...: input-centric and output-centric in one prompt (Gur-Arieh et al. 2025)."""

    show_activations: bool | None = Field(None, description="As explaining.show_activations, for this explainer")
