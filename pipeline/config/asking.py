"""Who answers requests, at which endpoints, and what may be spent on it."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.section import EMBEDDED_MODEL, Dtype, Positive, Precision, Section, Share, Word

Provider = Literal["local", "openai", "oracle"]


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


class RoleConfig(Section):
    """A model that explains or scores, and how it is asked."""

    provider: Provider = Field(
        "local",
        description="`local`: a model in this process; `openai`: any OpenAI-compatible server; `oracle`: no "
        "model, but the right answers from the tables, to rehearse a run without paying",
    )
    model: str = Field(
        EMBEDDED_MODEL,
        description="The server's name for it; for `local` as subject.model; an oracle has its own name, whatever "
        "this says",
    )
    oracle: OracleConfig = Field(OracleConfig(), description=OracleConfig.__doc__)
    dtype: Dtype = Field("auto", description="Precision of a `local` model, as subject.dtype")
    precision: Precision | None = Field(
        None,
        description="`int8`: the weights of a `local` model in 8 bits, converted at first use (1.8 GB for 1.5B "
        "parameters); what is not weights is in its dtype. Faster on a CPU; on a GPU it only saves memory",
    )
    temperature: float = Field(0.0, ge=0, description="0 always takes the likeliest token")
    reasoning_tokens: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Room for thinking, in tokens, added to the longest answer; a model that has some is sent "
        "no stop sequence, and its first token is not taken as its answer",
    )
    reasoning_effort: Word | None = Field(
        None,
        description="How much the model is to think, in the server's words (OpenAI: `minimal`, `low`, …; `none` "
        "is not to); left out where the server refuses it",
    )
    max_draws: Positive = Field(
        1,
        description="A request whose answer is refused, truncated, unparsed or echoed is sent again, up to this "
        "many times; the first usable answer counts. At temperature 0 most servers answer the same again",
    )
    max_features: Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="Features of a batch, drawn by hash, about which this model is asked; explainers and scorers "
        "without a model take all of them; null: no limit",
    )

    @model_validator(mode="after")
    def _an_oracle_is_called_one(self) -> Self:
        return self.named_as_answered()

    def named_as_answered(self) -> Self:
        """Give an oracle's name to the model where one answers: requests, versions and tables hold it."""
        if self.provider == "oracle":
            object.__setattr__(self, "model", self.oracle.model)  # frozen for all others
        return self

    @property
    def asked_model(self) -> str:
        """The model's name in requests; it says int8, since a model answers differently in int8 than in floats."""
        return f"{self.model} (int8)" if (self.provider, self.precision) == ("local", "int8") else self.model


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
