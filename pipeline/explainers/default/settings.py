"""`explaining.default`: no keys of its own; it is shown and asked what the section `explaining` says."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """The post's explainer (Juang et al. 2024)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
