"""`explaining.token_pairs`: what it is shown, where that differs from what the section `explaining` says."""

from pipeline.sampling import ShowingSettings


class Settings(ShowingSettings):
    """A token and its activation a line (Bills et al. 2023); nothing is marked: `marked_share` changes nothing."""
