"""`explaining.default`: what it is shown, where that differs from what the section `explaining` says."""

from pipeline.sampling import ShowingSettings


class Settings(ShowingSettings):
    """The post's explainer (Juang et al. 2024)."""
