"""`explaining.output_centric`: the tokens that it shows; it shows no windows."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """The tokens that the feature makes more and less likely, without any window (Gur-Arieh et al. 2025)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_tokens: Annotated[int, Field(ge=1)] | None = Field(
        None, description="As explaining.max_tokens, for this explainer"
    )
    tokens: Literal["promoted", "changed"] = Field(
        "promoted",
        description="`promoted`: the decoder direction through the unembedding (VocabProj); `changed`: the tokens "
        "whose logits change most when the feature is set on texts (TokenChange), which takes some seconds of "
        "forward passes per feature",
    )
    n_texts: Annotated[int, Field(ge=1, le=1000)] = Field(
        32, description="Texts on which the feature is set: the beginnings of train contexts drawn by hash"
    )
    n_text_tokens: Annotated[int, Field(ge=2, le=512)] = Field(32, description="Tokens per text")
