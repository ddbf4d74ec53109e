"""Settings of what an explainer is shown: how its windows are sampled, and the keys it can override.

Imports only pydantic, so that a plug-in's `settings.py` can import it.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

Sampling = Literal["deciles", "top", "top_sample", "random", "mixture"]


class ShowingSettings(BaseModel):
    """Keys of the section `explaining` that an explainer can override; if left out, the section's values apply.

    Attributes:
        prompts_of: The explainer whose prompts it uses; None if it has its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    prompts_of: ClassVar[str | None] = None

    sampling: Sampling | None = Field(None, description="As explaining.sampling, for this explainer")
    n_examples: Annotated[int, Field(ge=2, le=100)] | None = Field(
        None, description="As explaining.n_examples, for this explainer"
    )
    marked_share: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="As explaining.marked_share, for this explainer"
    )
    max_tokens: Annotated[int, Field(ge=1)] | None = Field(
        None, description="As explaining.max_tokens, for this explainer"
    )
