"""`explaining.default`: what it is shown, where that differs from the section `explaining`."""

from pipeline.sampling import ShowingSettings


class Settings(ShowingSettings):
    """The post's explainer (Juang et al. 2024)."""
