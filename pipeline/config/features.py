"""Statistics of all features without an LLM, their routes, and which of them are explained."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.section import Positive, Section, Share

Route = Literal["dead", "dense", "positional", "unigram", "previous_token", "too_rare", "rule", "llm"]
PostFilter = Literal["unigram", "previous_token", "positional"]


MOST_PRIORITY = 1_000_000_000


class HeuristicsConfig(Section):
    """Thresholds of the statistics that need no LLM."""

    top_share: Share = Field(
        0.8, description="Share of the firings, strongest first, whose tokens are counted (post: 80%)"
    )
    max_tokens: Positive = Field(
        20,
        description="A unigram (previous-token) feature has at most this many distinct (previous) tokens (post: "
        "20)",
    )
    min_firings: Positive = Field(
        100,
        description="Minimum train firings before token counts or positional scores can flag a feature. Without a "
        "minimum, a quarter of the unigram features found among planted features with 30 firings are true, and "
        "98% with 100 ([measured](performance.md#heuristics-on-planted-features))",
    )
    positional_information_nats: float = Field(
        0.05,
        description="The post's threshold on raw mutual information with the position (Voita et al. 2023), over "
        "all documents",
    )
    cofiring_firings: Positive = Field(
        32_000_000, description="Firings used to count co-firings: all, or this many on randomly drawn tokens"
    )
    top_tokens: Positive = Field(10, description="Tokens listed per feature")


class ScramblingConfig(Section):
    """Verifying unigram candidates among random tokens (post: 19 from the vocabulary, twice per token)."""

    n_fillers: Annotated[int, Field(ge=1, le=500)] = Field(
        19, description="Random tokens around the token, which is at a random position but never first (post: 19)"
    )
    repeats: Positive = Field(2, description="Texts per token (post: two)")
    fillers: Literal["vocabulary", "corpus"] = Field(
        "vocabulary",
        description="Where they are drawn from: uniformly from the vocabulary (post), or by frequency in train "
        "documents",
    )
    max_features: Positive = Field(
        1000,
        description="Candidates verified, drawn at random; all tokens of each are tested, so the cost grows with "
        "this",
    )


class RulesConfig(Section):
    """Rules about tokens and the tokens before them, chosen by F1 on train documents."""

    max_tokens: tuple[Positive, ...] = Field((1, 5, 20, 50), description="Size limits of the sets, ascending")
    min_support: Positive = Field(3, description="Minimum firings on a token for it to enter a token set")
    discount: float = Field(
        0.5,
        ge=0,
        description="Subtracted from each token's count when choosing sets, to guard against chance",
    )
    chosen_max_tokens: Positive = Field(
        20, description="Size limit of a set in the chosen rule; one of max_tokens"
    )
    parsimony: Share = Field(
        0.02, description="The chosen rule is the smallest with a train F1 within this distance of the best"
    )
    token_cost: float = Field(
        1.0, ge=0, description="Minimum hits that each token, class or position in a rule must add"
    )
    windows: tuple[Annotated[int, Field(ge=1, le=64)], ...] = Field(
        (1, 3), description="Numbers of preceding tokens considered; ascending from 1, the previous token"
    )
    min_firings: Positive = Field(30, description="Minimum train firings for rules to use preceding tokens")
    min_f1: Share = Field(0.2, description="Minimum train F1 of a rule with a clause on preceding tokens")

    @model_validator(mode="after")
    def _limits_ascend(self) -> Self:
        if not self.max_tokens or list(self.max_tokens) != sorted(set(self.max_tokens)):
            raise ValueError("max_tokens must be ascending, without repeats, such as [1, 5, 20]")
        if self.chosen_max_tokens not in self.max_tokens:
            limits = ", ".join(map(str, self.max_tokens))
            raise ValueError(
                f"chosen_max_tokens is {self.chosen_max_tokens}; it must be one of max_tokens ({limits})"
            )
        if not self.windows or self.windows[0] != 1 or list(self.windows) != sorted(set(self.windows)):
            raise ValueError("windows must be ascending from 1, without repeats, such as [1, 3]")
        return self


class RoutingConfig(Section):
    """The route of each feature: the first that applies, in this order."""

    dense: Share = Field(
        0.1, description="`dense`: fires on more than this share of the train tokens, position 0 left out"
    )
    positional: float = Field(
        0.05,
        description="`positional`: corrected, normalised position score above this (threshold of Voita et al.), "
        "on train documents from position 1 on",
    )
    min_slots: Positive = Field(20, description="`too_rare`: fewer activating slots than this in a role")
    min_documents: Positive = Field(10, description="`too_rare`: slots from fewer documents than this in a role")
    rule_f1: Share = Field(0.8, description="`rule`: train F1 of the chosen rule is at least this")
    rule_gain: Share = Field(
        0.1,
        description="`rule`: and exceeds the F1 of always firing by at least this; 1: no feature, so that a model "
        "explains those with a rule, too",
    )
    post_filters: tuple[PostFilter, ...] = Field(
        (),
        description="Thresholds of the post that also decide routes: unigram, previous_token, positional (raw, "
        "over all documents)",
    )


def _default_quotas() -> dict[Route, int]:
    return {"llm": 16, "rule": 8}


class SelectionConfig(Section):
    """Which features are explained. In no stage hash: all but batch_size can change between runs."""

    batch_size: Positive = Field(
        1024,
        description="Features per batch, by index: the unit of work of an LLM worker. Fixed by a lake's first "
        "batch",
    )
    quotas: dict[Route, Annotated[int, Field(ge=0)]] | None = Field(
        default_factory=_default_quotas,
        description="Features per batch and route, drawn at random; null: no limit, every route, which is the "
        "default with a list of `features`",
    )
    features: str | None = Field(
        None, description="CSV, Parquet or JSON file with columns (sae or hookpoint, feature[, priority])"
    )
    where: str | None = Field(
        None, description="SQL condition over feature_stats and feature_routes, such as `density > 0.001`"
    )
    batches_per_run: Positive | None = Field(
        1,
        description="Batches of each SAE that `make run` explains; the schedule handles the others. null: all of "
        "them, which is the default with a list of `features`",
    )
    remake_stale: bool = Field(
        False,
        description="Explain and score again the batches that were scored before documents were added to the "
        "corpus; otherwise they stay as they are until materialised one by one",
    )
    priority: Annotated[int, Field(ge=-MOST_PRIORITY, le=MOST_PRIORITY)] = Field(
        0, description="Batches with a higher priority come first; a `features` file can set its own"
    )

    @model_validator(mode="before")
    @classmethod
    def _a_list_is_taken_whole(cls, values: Any) -> Any:
        """Unless the config limits it, a list has no limits: each feature that it names is meant."""
        has_list = isinstance(values, dict) and values.get("features") is not None
        return {"quotas": None, "batches_per_run": None, **values} if has_list else values

    @property
    def quotas_in_words(self) -> str:
        """The quotas for messages: `llm: 16, rule: 8 in each batch of 1,024`; empty without quotas."""
        if self.quotas is None:
            return ""
        sizes = ", ".join(f"{route}: {n:,}" for route, n in self.quotas.items())
        return f"{sizes} in each batch of {self.batch_size:,}"

    def features_of(self, batch: int) -> range:
        """The feature indices of a batch; in an SAE's last batch they may go beyond its features."""
        return range(batch * self.batch_size, (batch + 1) * self.batch_size)
