"""Who answers, where it is reached, and what may be spent on it."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.section import Positive, Precision, Section, Share

Provider = Literal["local", "openai", "oracle"]

MAX_DRAWS = (
    "A request whose answer is refused, truncated, unparsed or echoed is sent again, up to this many times; the "
    "first usable answer counts. At temperature 0 most servers answer the same again"
)

REASONING_TOKENS = (
    "Room for thinking, in tokens, added to the longest answer; a model that has some is sent no stop sequence, "
    "and its first token is not taken as its answer"
)

REASONING_EFFORT = (
    "How much the model is to think, in the server's words (OpenAI: `minimal`, `low`, …; `none` is not to); "
    "left out where the server refuses it"
)


class OracleConfig(Section):
    """How the oracle fails, where it is the provider; by hash, the same way each time."""

    refusal_rate: Share = Field(0.0, description="Share of requests that it refuses")
    garbled_rate: Share = Field(0.0, description="Share of requests that it answers with something unreadable")

    @property
    def model(self) -> str:
        """Its name as a model, under which its answers are known: with other rates it is another."""
        rates = [f"{key.removesuffix('_rate').replace('_', ' ')} {rate}" for key, rate in self if rate]
        return f"oracle ({', '.join(rates)})" if rates else "oracle"


class ExplainingOracleConfig(OracleConfig):
    """How often the oracle errs and fails as an explainer; by hash, so the same each time."""

    wrong_rate: Share = Field(0.0, description="Share of answers that are another feature's explanation")


class ScoringOracleConfig(OracleConfig):
    """How often the oracle errs and fails as a scorer; by hash, so the same each time."""

    false_positive_rate: Share = Field(0.1, description="Share of texts for which it says yes where no is right")
    false_negative_rate: Share = Field(0.1, description="Share of texts for which it says no where yes is right")


def name_as_asked(provider: Provider, model: str, precision: Precision | None) -> str:
    """Who is asked, as requests have it: a model in int8 answers otherwise than in floats."""
    return f"{model} (int8)" if (provider, precision) == ("local", "int8") else model


def name_as_answered(section: Section, provider: Provider, oracle: OracleConfig) -> None:
    """Make a section's model the oracle's name where that answers: requests, versions and tables hold it."""
    if provider == "oracle":
        object.__setattr__(section, "model", oracle.model)  # frozen for all others


class EndpointConfig(Section):
    """The server of a model; in no stage hash."""

    base_url: str | None = Field(
        None,
        description="Address of an OpenAI-compatible server, with any query (Azure: `?api-version=…`); "
        "left out, OpenAI's own",
    )
    api_key_env: str | None = Field(None, description="Environment variable with its key; left out, none is sent")
    api_key_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")] | None = Field(
        None, description="Header with the key (Azure: `api-key`); left out, `Authorization: Bearer`"
    )
    max_concurrent: Positive = Field(
        16, description="Requests in flight at most; fewer while the server is overloaded"
    )
    timeout_seconds: float = Field(120, gt=0, description="Longest wait for an answer, per attempt")
    max_attempts: Positive = Field(
        5, description="Attempts at a request before it is `http_error`; the next run asks again"
    )


class ChatEndpointConfig(EndpointConfig):
    """The server of the explainer; in no stage hash."""

    batch: bool = Field(
        False,
        description="Ask by the server's batch API (OpenAI's `/files` and `/batches`): half the price, and "
        "answers within a day; see docs/servers.md",
    )
    batch_poll_seconds: float = Field(60, gt=0, description="Time between two checks of a batch")
    batch_unfinished: Literal["batch", "ordinary"] = Field(
        "batch",
        description="How requests that a batch left unanswered (it expired, say) are sent again: in a new "
        "`batch`, or as `ordinary` requests at the full price",
    )


class ScorerEndpointConfig(ChatEndpointConfig):
    """The server of the scorer; in no stage hash."""

    batch_rounds: bool = Field(
        False, description="With `batch` and scoring.target_half_width: let each round wait for a batch of its own"
    )


class EndpointsConfig(Section):
    """Servers of the models, for provider `openai`; in no stage hash."""

    explainer: ChatEndpointConfig = Field(ChatEndpointConfig(), description=EndpointConfig.__doc__)
    scorer: ScorerEndpointConfig = Field(ScorerEndpointConfig(), description=EndpointConfig.__doc__)
    embedder: EndpointConfig = Field(EndpointConfig(), description=EndpointConfig.__doc__)


class BudgetConfig(Section):
    """What may be asked and spent in total, over all runs; what the ledger holds counts. In no stage hash."""

    max_usd: Annotated[float, Field(ge=0)] | None = Field(
        None, description="Stop before more than this is spent, by the price file; null: no limit"
    )
    max_requests: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Stop before more requests than this are answered; null: no limit"
    )
    prices: Path = Field(
        Path("config/prices.yaml"),
        description="What models cost, where a provider is `openai`; the default ships with latentlake",
    )
