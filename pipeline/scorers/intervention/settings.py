"""`scoring.intervention`: how features are changed, and the continuations that are shown."""

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

Mode = Literal["steer", "ablate"]


class Settings(BaseModel):
    """Which of three sets of continuations fits the explanation? (after Paulo et al. 2024)"""

    model_config = ConfigDict(frozen=True, extra="forbid")
    judges: ClassVar[str] = "effect"

    modes: tuple[Mode, ...] = Field(
        ("steer",),
        min_length=1,
        description="`steer`: the activation is raised on every token; `ablate`: it is set to 0, in test windows "
        "in which the feature fires",
    )
    target_kls: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (0.1, 0.33, 1.0),
        min_length=1,
        description="Mean KL divergences, in nats, that determine the steering strengths (Paulo et al. 2024)",
    )
    n_held_out: Annotated[int, Field(ge=2)] = Field(
        256, description="Maximum number of train texts on which a strength is found"
    )
    prompt_tokens: Annotated[int, Field(ge=4)] = Field(16, description="Tokens of each text that is continued")
    new_tokens: Annotated[int, Field(ge=1)] = Field(24, description="Tokens of each continuation")
    n_trials: Annotated[int, Field(ge=1)] = Field(
        8, description="Questions about an explanation for each target, and for ablation"
    )
    set_size: Annotated[int, Field(ge=1)] = Field(3, description="Continuations per set, each of a different text")
    pool: Annotated[int, Field(ge=3)] = Field(
        8, description="Features of the batch, the first by draw, from which the other two sets are taken"
    )

    @property
    def n_prompts(self) -> int:
        """Number of texts that are continued; no text is in two sets of a feature."""
        return self.n_trials * self.set_size
