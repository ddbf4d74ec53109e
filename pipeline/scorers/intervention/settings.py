"""`scoring.intervention`: how features are changed, and how much of what the model writes then is read."""

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

Mode = Literal["steer", "ablate"]


class Settings(BaseModel):
    """Which of three sets of continuations shows what the explanation says? (after Paulo et al. 2024)"""

    model_config = ConfigDict(frozen=True, extra="forbid")
    judges: ClassVar[str] = "effect"

    modes: tuple[Mode, ...] = Field(
        ("steer",),
        min_length=1,
        description="`steer`: the activation is raised on every token; `ablate`: it is set to 0, in test windows "
        "in which it fires",
    )
    target_kls: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (0.1, 0.33, 1.0),
        min_length=1,
        description="Mean KL divergences, in nats, to which strengths are set (Paulo et al. 2024)",
    )
    n_held_out: Annotated[int, Field(ge=2)] = Field(
        256, description="Train texts, at most, on which a strength is found"
    )
    prompt_tokens: Annotated[int, Field(ge=4)] = Field(16, description="Tokens of a text that is continued")
    new_tokens: Annotated[int, Field(ge=1)] = Field(24, description="Tokens of a continuation")
    n_trials: Annotated[int, Field(ge=1)] = Field(
        8, description="Questions about an explanation for each target, and for ablation"
    )
    set_size: Annotated[int, Field(ge=1)] = Field(3, description="Continuations in a set, each of another text")
    pool: Annotated[int, Field(ge=3)] = Field(
        8, description="The other two sets are of features among so many of the batch, the first by draw"
    )

    @property
    def n_prompts(self) -> int:
        """Texts that are continued: no two sets of a feature hold the same."""
        return self.n_trials * self.set_size
