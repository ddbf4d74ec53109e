"""How explanations are scored."""

from statistics import NormalDist
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.asking import (
    Provider,
    RoleConfig,
    ScorerEndpointConfig,
    ScoringOracleConfig,
    check_servers_model,
)
from pipeline.config.plugin_sections import known
from pipeline.config.section import Name, Positive, Precision, Section, Share, Word
from pipeline.errors import nearest
from pipeline.plugins import Declared


class ScorerModelConfig(Section):
    """An additional model that scores; keys that are left out are as in `scoring`."""

    provider: Provider | None = Field(None, description="As scoring.provider")
    model: str | None = Field(None, description="As scoring.model")
    oracle: ScoringOracleConfig | None = Field(None, description="As scoring.oracle")
    precision: Precision | None = Field(None, description="As scoring.precision")
    questions_per_prompt: Annotated[int, Field(ge=1, le=50)] | None = Field(
        None, description="As scoring.questions_per_prompt"
    )
    temperature: Annotated[float, Field(ge=0)] | None = Field(None, description="As scoring.temperature")
    reasoning_tokens: Annotated[int, Field(ge=0)] | None = Field(None, description="As scoring.reasoning_tokens")
    reasoning_effort: Word | None = Field(None, description="As scoring.reasoning_effort")
    max_draws: Positive | None = Field(None, description="As scoring.max_draws")
    endpoint: ScorerEndpointConfig | None = Field(
        None, description="Its server; by default endpoints.scorer. In no stage hash"
    )


class ScoringConfig(RoleConfig):
    """How explanations are scored."""

    oracle: ScoringOracleConfig = Field(ScoringOracleConfig(), description=ScoringOracleConfig.__doc__)
    scorers: Annotated[tuple[str, ...], known("scorers")] = Field(
        ("detection", "fuzzing"),
        description="Scorers by name; `rule_exact` needs no model and always runs. `detection@mini` is detection "
        "with the model `mini` of scoring.models, in addition to or instead of `detection`. []: explanations "
        "without scores, other than those of `rule_exact`",
    )
    models: dict[Name, ScorerModelConfig] = Field(
        {}, description="Additional models that score, by the name after a scorer's @"
    )
    n_questions: Annotated[int, Field(ge=4, le=200)] = Field(
        20,
        description="Maximum questions per scorer and explanation with the answer yes, and the same number with "
        "no. With several questions per prompt, another number makes other prompts, which are paid for again; "
        "with one, detection's recorded answers are kept. `make estimate` counts what would be sent",
    )
    n_no_questions: Annotated[int, Field(ge=2, le=200)] | None = Field(
        None,
        description="Questions of detection and fuzzing with the answer no, if fewer than n_questions (post: 20 "
        "with 50); null: n_questions",
    )
    silent: Literal["strata", "random"] = Field(
        "strata",
        description="Which silent test windows are asked about. `strata`: in turn windows with the feature's own "
        "tokens, windows of near neighbours, and others; `random`: a random draw from all (post), most of them "
        "easy",
    )
    target_half_width: Annotated[float, Field(gt=0, le=0.5)] | None = Field(
        None,
        description="Sequential scoring: ask in rounds, and stop once the interval of the balanced accuracy "
        "is at most twice as wide as this ([its coverage](scores.md#intervals)); needs n_questions above "
        "min_questions. null: ask all n_questions",
    )
    min_questions: Annotated[int, Field(ge=20)] = Field(
        20,
        description="Questions per answer, yes or no, in the first round (with fewer, stopping would bias the "
        "score); a later one has as many as the interval needs at the rates so far",
    )
    questions_per_prompt: Annotated[int, Field(ge=1, le=50)] | None = Field(
        None,
        description="Questions per prompt (post: 5). null: 40 if a server returns a probability for each of many "
        "answers, which its first answer to the pilot settles for all batches; otherwise, and for a model in "
        "this process, 1. More may cost a small model all its accuracy (`python -m benchmarks.many_questions`)",
    )
    all_draws: bool = Field(
        False,
        description="Score every draw of an explainer that chooses among several, not only the chosen one",
    )
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = Field(0.95, description="Level of all intervals")
    rho: Share = Field(
        0.1,
        description="Minimum correlation of correct answers within a document, which widens intervals (design "
        "effect); the pilot's is used if larger (table `scorer_rhos`)",
    )
    pilot_features: Annotated[int, Field(ge=0)] = Field(
        32,
        description="Features of the first batches of a run, drawn at random, used to estimate a scorer's rho "
        "before the batches are scored; needs 32 explanations of at least 8 features. Their answers are used "
        "again in the batches. 0: no pilot",
    )
    threshold: Literal["half", "controls"] = Field(
        "half",
        description="The probability from which a yes/no answer counts as yes: `half` is 0.5. `controls`: for a "
        "model that says yes too often, the probability that one in ten of its answers about controls reach "
        "(never below 0.5), measured once by the pilot on train windows with some 125 more questions (table "
        "`scorer_rhos`)",
    )
    min_coverage: Share = Field(0.8, description="Below this share of answered questions a score is null")
    max_interval: Share = Field(0.5, description="A population figure with a wider interval is null")

    @model_validator(mode="after")
    def _no_more_of_no(self) -> Self:
        if self.n_no_questions is not None and self.n_no_questions > self.n_questions:
            raise ValueError(f"n_no_questions ({self.n_no_questions}) is above n_questions ({self.n_questions})")
        return self

    @model_validator(mode="after")
    def _rounds_have_questions(self) -> Self:
        if self.target_half_width is not None and self.n_questions <= self.min_questions:
            raise ValueError(
                f"target_half_width cannot end scoring early: the first round asks min_questions "
                f"({self.min_questions}) per answer, and n_questions is {self.n_questions}; set n_questions "
                "to 50 or more, or target_half_width to null"
            )
        return self

    @model_validator(mode="after")
    def _models_are_known(self) -> Self:
        for scorer in self.scorers:
            _, at, name = scorer.partition("@")
            if at and name not in self.models:
                known = f"nearest: {nearest(name, self.models)}" if self.models else "there is none yet"
                raise ValueError(
                    f"scorer '{scorer}' names the model '{name}', which is not in scoring.models; {known}"
                )
        for own in self.models.values():
            if (own.provider or self.provider) == "openai":
                check_servers_model(own.model or self.model)
        return self

    @property
    def is_asked(self) -> bool:
        """Whether a scorer may ask its own model, and not an additional one."""
        return any("@" not in scorer for scorer in self.scorers)

    def with_model(self, name: str) -> Self:
        """The section with an additional model, whose keys override it."""
        own = {key: value for key, value in self.models[name] if value is not None and key != "endpoint"}
        return self.model_copy(update=own).named_as_answered()

    @property
    def n_noes(self) -> int:
        """Questions of detection and fuzzing with the answer no."""
        return self.n_questions if self.n_no_questions is None else self.n_no_questions

    @property
    def kinds(self) -> tuple[str, ...]:
        """The scorers as plug-ins, each once: `detection` for `detection@mini`."""
        return tuple(dict.fromkeys(name.partition("@")[0] for name in self.scorers))

    @property
    def embedder(self) -> str | None:
        """The server's model that a scorer embeds texts with; None if there is no such scorer."""
        own = [getattr(self, name) for name in self.kinds if self._declared(name).asks_role == "embedder"]
        return own[0].model if own else None

    @property
    def population_scorers(self) -> tuple[str, ...]:
        """Scorers that ask yes/no questions about windows drawn from all candidate slots."""
        return self._scored_as("population")

    @property
    def grade_scorers(self) -> tuple[str, ...]:
        """Scorers that grade windows 0, 1 or 2."""
        return self._scored_as("grades")

    @property
    def activation_scorers(self) -> tuple[str, ...]:
        """Scorers that predict a value for each token of a window."""
        return self._scored_as("activations")

    def _scored_as(self, kind: str) -> tuple[str, ...]:
        return tuple(name for name in self.scorers if self._declared(name).scored_as == kind)

    def _declared(self, scorer: str) -> Declared:
        return Declared.by(getattr(self, scorer.partition("@")[0], None))

    @property
    def z(self) -> float:
        """The standard normal quantile at (1 + confidence) / 2, which sets the width of every interval."""
        return NormalDist().inv_cdf((1 + self.confidence) / 2)
