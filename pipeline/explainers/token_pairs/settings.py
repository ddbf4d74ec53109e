"""`explaining.token_pairs`: what it is shown, where that differs from the section `explaining`."""

from pipeline.sampling import ShowingSettings


class Settings(ShowingSettings):
    """One token and its activation per line (Bills et al. 2023). No marks, so `marked_share` has no effect."""
