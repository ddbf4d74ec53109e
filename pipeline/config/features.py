"""What is said of all features without an LLM, where each goes, and which go on to be explained."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.section import Positive, Section, Share

Route = Literal["dead", "dense", "positional", "unigram", "previous_token", "too_rare", "rule", "llm"]
PostFilter = Literal["unigram", "previous_token", "positional"]


MOST_PRIORITY = 1_000_000_000


class HeuristicsConfig(Section):
    """Thresholds of the statistics that need no LLM."""

    top_share: Share = Field(
        0.8, description="Share of the firings, strongest first, whose tokens are counted (post: eighty percent)"
    )
    max_tokens: Positive = Field(
        20, description="Distinct (previous) tokens at most of a unigram (previous-token) feature (post: twenty)"
    )
    min_firings: Positive = Field(
        100,
        description="Train firings below which token counts and positional scores flag nothing (by chance: "
        "precision 0.30 with no minimum, 0.97 at 100, on planted features)",
    )
    positional_information_nats: float = Field(
        0.05,
        description="The post's threshold on raw mutual information with the position (Voita et al. 2023), of all "
        "documents",
    )
    cofiring_features: Positive = Field(20, description="Features listed per feature that fire on the same tokens")
    cofiring_firings: Positive = Field(
        32_000_000, description="Firings over which co-firings are counted: all, or this many on drawn tokens"
    )
    top_tokens: Positive = Field(10, description="Tokens listed per feature")
    strong_share: Share = Field(
        0.3, description="A firing is strong above this share of the feature's largest train activation"
    )


class ScramblingConfig(Section):
    """Unigram candidates, verified among random tokens (post: 19 from the vocabulary, twice per token)."""

    n_fillers: Annotated[int, Field(ge=1, le=500)] = Field(
        19, description="Random tokens around the token, which stands at a random place but never first (post: 19)"
    )
    repeats: Positive = Field(2, description="Texts per token (post: two)")
    fillers: Literal["vocabulary", "corpus"] = Field(
        "vocabulary",
        description="Where they are drawn from: every token of the vocabulary alike (post), or by their frequency "
        "in train documents, among which more features still fire (0.49 against 0.41 on a test SAE)",
    )
    max_features: Positive = Field(
        1000,
        description="Candidates verified, drawn by hash; all tokens of each are, so the cost grows with it",
    )


class RulesConfig(Section):
    """Rules of tokens and of the tokens before them, chosen on train documents for their F1."""

    max_tokens: tuple[Positive, ...] = Field((1, 5, 20, 50), description="Size limits of the sets, ascending")
    min_support: Positive = Field(3, description="Firings of the feature on a token that it needs to be in a set")
    discount: float = Field(0.5, ge=0, description="Taken off that count while choosing, against chance")
    rounds: Positive = Field(4, description="Rounds of Dinkelbach's iteration (three converge)")
    chosen_max_tokens: Positive = Field(
        20, description="Largest set that a clause of the feature's chosen rule can name; one of max_tokens"
    )
    parsimony: Share = Field(
        0.02, description="The chosen rule is the smallest whose train F1 is within this much of the best"
    )
    token_cost: float = Field(
        1.0, ge=0, description="Hits that each token, class or position in a rule has to add"
    )
    windows: tuple[Annotated[int, Field(ge=1, le=64)], ...] = Field(
        (1, 3), description="How many tokens before a firing are considered; ascending from 1, the previous one"
    )
    min_firings: Positive = Field(30, description="Train firings below which rules ignore the tokens before")
    min_f1: Share = Field(0.2, description="Train F1 that a rule with a clause on these has to reach")

    @model_validator(mode="after")
    def _limits_ascend(self) -> Self:
        if not self.max_tokens or list(self.max_tokens) != sorted(set(self.max_tokens)):
            raise ValueError("max_tokens is not an ascending list")
        if self.chosen_max_tokens not in self.max_tokens:
            limits = ", ".join(map(str, self.max_tokens))
            raise ValueError(f"chosen_max_tokens is {self.chosen_max_tokens}, and none of max_tokens ({limits})")
        if not self.windows or self.windows[0] != 1 or list(self.windows) != sorted(set(self.windows)):
            raise ValueError("windows is not an ascending list from 1")
        return self


class RoutingConfig(Section):
    """Where each feature goes: the first route that applies, in this order."""

    dense: Share = Field(
        0.1, description="`dense`: fires on more than this share of the train tokens, position 0 left out"
    )
    positional: float = Field(
        0.05,
        description="`positional`: corrected, normalised position score above this (Voita et al.'s cut), on train "
        "documents from position 1 on",
    )
    min_slots: Positive = Field(20, description="`too_rare`: fewer activating slots than this in a role")
    min_documents: Positive = Field(10, description="`too_rare`: slots from fewer documents than this in a role")
    rule_f1: Share = Field(0.8, description="`rule`: train F1 of the chosen rule at least this")
    rule_gain: Share = Field(0.1, description="`rule`: and at least this much above the F1 of always firing")
    post_filters: tuple[PostFilter, ...] = Field(
        (),
        description="Thresholds of the post that also decide routes: unigram, previous_token, positional (raw, of "
        "all documents)",
    )


def _default_quotas() -> dict[Route, int]:
    return {"llm": 16, "rule": 8}


class SelectionConfig(Section):
    """Which features go on to be explained. In no stage hash: all but batch_size can change between runs."""

    batch_size: Positive = Field(
        1024,
        description="Features per batch, by number: what an LLM worker takes. Fixed with a lake's first batch",
    )
    quotas: dict[Route, Annotated[int, Field(ge=0)]] | None = Field(
        default_factory=_default_quotas,
        description="Features of each batch and route, drawn by hash; null: no limit, every route",
    )
    features: str | None = Field(
        None, description="CSV, Parquet or JSON file with columns (sae or hookpoint, feature[, priority])"
    )
    where: str | None = Field(
        None, description="SQL condition over feature_stats and feature_routes, such as `density > 0.001`"
    )
    batches_per_run: Positive = Field(
        1, description="Batches of each SAE that `make run` explains; the schedule takes the others"
    )
    remake_stale: bool = Field(
        False,
        description="Explain and score batches again that were scored before documents were added to the corpus; "
        "otherwise they stay as they are until they are materialised one by one",
    )
    priority: Annotated[int, Field(ge=-MOST_PRIORITY, le=MOST_PRIORITY)] = Field(
        0, description="Batches with a higher priority come first; a `features` file can set its own"
    )

    def features_of(self, batch: int) -> range:
        """The features of a batch, by number; the last ones of an SAE's last batch may be more than it has."""
        return range(batch * self.batch_size, (batch + 1) * self.batch_size)
