"""`explaining.rule`: no keys of its own; rules are configured in the section `rules`."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """The chosen rule in words."""

    model_config = ConfigDict(frozen=True, extra="forbid")
