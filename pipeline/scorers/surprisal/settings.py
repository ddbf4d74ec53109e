"""`scoring.surprisal`: the model whose losses are used."""

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """Does the explanation lower a model's loss on this window? (Paulo et al. 2024)"""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(
        "subject",
        description="A base model in this process: `subject`, the subject model; `scorer`, the scorer's model, if "
        "its provider is `local`; or a package, folder or hub name. Servers do not return losses",
    )
