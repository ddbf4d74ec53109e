"""How features are explained."""

from typing import Annotated, Self, get_args

from pydantic import Field, model_validator

from pipeline.config.asking import ExplainingOracleConfig, RoleConfig
from pipeline.config.plugin_sections import known
from pipeline.config.section import Positive
from pipeline.plugins import Declared
from pipeline.sampling import Sampling

JUDGE = "detection"
"""The scorer whose questions about train windows decide among an explainer's drafts."""


class ExplainingConfig(RoleConfig):
    """How features are explained."""

    explainers: Annotated[tuple[str, ...], Field(min_length=1), known("explainers")] = Field(
        ("default", "rule"),
        description="Explainers by name; controls are made from the first that explains a feature. `default` asks "
        "an LLM, `rule` needs none",
    )
    oracle: ExplainingOracleConfig = Field(ExplainingOracleConfig(), description=ExplainingOracleConfig.__doc__)
    sampling: Sampling = Field(
        "deciles",
        description="Which train examples are shown (post): some of each decile, the strongest, a random draw "
        "from the top 200, a random draw from all, or half of each draw",
    )
    n_examples: Annotated[int, Field(ge=2, le=100)] = Field(
        20,
        description="Number of examples shown (post: 10, 20 or 40)",
    )
    marked_share: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.3,
        description="Tokens above this share of the largest activation shown are marked (Bills et al.); "
        "must be below 1: scorers mark only tokens above it",
    )
    show_activations: bool = Field(False, description="Write each marked token's activation, 0 to 10, after it")
    max_tokens: Positive = Field(100, description="Maximum length of an answer; a longer one is `truncated`")
    one_line: bool = Field(
        True,
        description="The answer ends after its first line, as the prompt requests; false lets a model think aloud",
    )
    controls: Annotated[int, Field(ge=0)] = Field(
        8,
        description="Features per batch that get controls: an empty explanation and another feature's explanation",
    )

    @model_validator(mode="after")
    def _builds_on_one_that_builds_on_none(self) -> Self:
        for name in self.explainers:
            of = self._declared(name).of
            if of is not None and self._declared(of).of is not None:
                raise ValueError(
                    f"{name}.of: '{of}' is itself built on an explainer; name one that asks a model exactly once "
                    "per feature, such as 'default'"
                )
        return self

    def seen_by(self, explainer: str) -> Self:
        """The section as seen by an explainer: its own settings override keys of the same name."""
        own = getattr(self, self._shows_as(explainer), None) or ()
        keys = ExplainingConfig.model_fields
        return self.model_copy(update={key: value for key, value in own if key in keys and value is not None})

    def n_silent_of(self, explainer: str) -> int:
        """Number of silent train windows an explainer is shown."""
        return self._declared(self._shows_as(explainer)).n_silent

    def _shows_as(self, explainer: str) -> str:
        """The explainer whose windows it is shown: the one it is built on (`of`), or itself."""
        return self._declared(explainer).of or explainer

    def _declared(self, explainer: str) -> Declared:
        return Declared.by(getattr(self, explainer, None))

    @property
    def from_files(self) -> tuple[str, ...]:
        """The explainers whose explanations are the content of files that their settings name."""
        contents = {name: getattr(getattr(self, name, None), "content", None) for name in self.explainers}
        return tuple(name for name, content in contents.items() if content is not None)

    @property
    def n_judging(self) -> int:
        """Number of judging train windows per answer, yes or no: enough for every explainer that chooses."""
        return max(self._declared(explainer).n_judging for explainer in self.explainers)

    @property
    def n_sampled(self) -> dict[Sampling, int]:
        """Number of train windows per sampling: enough for the section and for every explainer."""
        seen = (self, *map(self.seen_by, self.explainers))
        return {
            sampling: max((each.n_examples for each in seen if each.sampling == sampling), default=0)
            for sampling in get_args(Sampling)
        }

    @property
    def n_silent(self) -> int:
        """Number of silent train windows: enough for every explainer."""
        return max(map(self.n_silent_of, self.explainers))
