"""The models that answer requests, their endpoints, and the budget."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.section import EMBEDDED_MODEL, Dtype, Positive, Precision, Section, Share, Word

Provider = Literal["local", "openai", "oracle"]


class OracleConfig(Section):
    """How often the oracle fails, if it is the provider; deterministic."""

    refusal_rate: Share = Field(0.0, description="Share of requests that it refuses")
    garbled_rate: Share = Field(0.0, description="Share of requests that it answers with unparsable text")

    @property
    def model(self) -> str:
        """Its model name, which its answers are recorded under; it includes the rates."""
        rates = [f"{key.removesuffix('_rate').replace('_', ' ')} {rate}" for key, rate in self if rate]
        return f"oracle ({', '.join(rates)})" if rates else "oracle"


def is_oracle(model: str) -> bool:
    """Whether a model's name is an oracle's."""
    return model == "oracle" or model.startswith("oracle (")


class ExplainingOracleConfig(OracleConfig):
    """How often the oracle errs and fails as an explainer; deterministic."""

    wrong_rate: Share = Field(0.0, description="Share of answers that are another feature's explanation")


class ScoringOracleConfig(OracleConfig):
    """How often the oracle errs and fails as a scorer; deterministic."""

    false_positive_rate: Share = Field(
        0.1,
        description="Share of texts with correct answer no that it answers with yes",
    )
    false_negative_rate: Share = Field(
        0.1,
        description="Share of texts with correct answer yes that it answers with no",
    )


class RoleConfig(Section):
    """A model that explains or scores, and how it is asked."""

    provider: Provider = Field(
        "local",
        description="`local`: a model in this process; `openai`: any OpenAI-compatible server; `oracle`: no "
        "model, but the correct answers from the tables, to rehearse a run without paying",
    )
    model: str = Field(
        EMBEDDED_MODEL,
        description="The server's name for it; for `local`, as subject.model; ignored for an oracle, which has "
        "its own name",
    )
    oracle: OracleConfig = Field(OracleConfig(), description=OracleConfig.__doc__)
    dtype: Dtype = Field("auto", description="Precision of a `local` model, as subject.dtype")
    precision: Precision | None = Field(
        None,
        description="`int8`: 8-bit weights for a `local` model, converted at first use (1.8 GB for 1.5B "
        "parameters); everything else is in its dtype. Faster on a CPU; on a GPU it only saves memory",
    )
    temperature: float = Field(0.0, ge=0, description="Sampling temperature; 0 always takes the most likely token")
    reasoning_tokens: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Tokens allowed for reasoning, in addition to the longest answer; if above 0, no stop "
        "sequence is sent, and the first token is not taken as the answer",
    )
    reasoning_effort: Word | None = Field(
        None,
        description="Reasoning effort, in the server's terms (OpenAI: `minimal`, `low`, …; `none` turns it off); "
        "not sent to a server that rejects it",
    )
    max_draws: Positive = Field(
        1,
        description="A request whose answer is refused, truncated, unparsed or echoed is sent again, up to this "
        "many times; the first usable answer counts. At temperature 0 most servers repeat the same answer",
    )
    max_features: Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="Maximum features per batch, drawn at random, that this model is asked about; explainers and "
        "scorers without a model cover all features; null: no limit",
    )

    @model_validator(mode="after")
    def _a_server_has_a_model(self) -> Self:
        if self.provider == "openai" and self.is_asked:
            check_servers_model(self.model)
        return self

    @property
    def is_asked(self) -> bool:
        """Whether its own model may be asked."""
        return True

    @model_validator(mode="after")
    def _an_oracle_is_called_one(self) -> Self:
        return self.named_as_answered()

    def named_as_answered(self) -> Self:
        """Use the oracle's name as the model if an oracle answers: it enters requests, versions and tables."""
        if self.provider == "oracle":
            object.__setattr__(self, "model", self.oracle.model)  # frozen for everyone else
        return self

    @property
    def asked_model(self) -> str:
        """The model's name in requests; it includes int8, since a model answers differently in int8."""
        return f"{self.model} (int8)" if (self.provider, self.precision) == ("local", "int8") else self.model


def check_servers_model(model: str) -> None:
    """Raise ValueError if a server would be asked for the default model, which is a package of this machine."""
    if model == EMBEDDED_MODEL:
        raise ValueError("provider openai needs a model: the server's name for it")


class EndpointConfig(Section):
    """The server of a model; in no stage hash."""

    base_url: str | None = Field(
        None,
        description="Address of an OpenAI-compatible server, including any query (Azure: `?api-version=…`); by "
        "default OpenAI's",
    )
    api_key_env: str | None = Field(
        None,
        description="Environment variable with the API key; by default no key is sent",
    )
    api_key_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")] | None = Field(
        None, description="Header for the key (Azure: `api-key`); by default `Authorization: Bearer`"
    )
    max_concurrent: Positive = Field(
        16, description="Maximum requests in flight; fewer while the server is overloaded"
    )
    timeout_seconds: float = Field(120, gt=0, description="Longest wait for an answer, per attempt")
    max_attempts: Positive = Field(
        5, description="Attempts before a request becomes `http_error`; the next run tries again"
    )


class ChatEndpointConfig(EndpointConfig):
    """The server of the explainer; in no stage hash."""

    batch: bool = Field(
        False,
        description="Use the server's batch API (OpenAI's `/files` and `/batches`): half the price, answers "
        "within a day; see docs/servers.md",
    )
    batch_poll_seconds: float = Field(60, gt=0, description="Time between checks of a batch")
    batch_unfinished: Literal["batch", "ordinary"] = Field(
        "batch",
        description="How requests left unanswered by a batch (for example, expired) are sent again: in a new "
        "`batch`, or as `ordinary` requests at full price",
    )


class ScorerEndpointConfig(ChatEndpointConfig):
    """The server of the scorer; in no stage hash."""

    batch_rounds: bool = Field(
        False, description="With `batch` and scoring.target_half_width: each round waits for a batch of its own"
    )


class EndpointsConfig(Section):
    """Servers of the models, for provider `openai`; in no stage hash."""

    explainer: ChatEndpointConfig = Field(ChatEndpointConfig(), description=EndpointConfig.__doc__)
    scorer: ScorerEndpointConfig = Field(ScorerEndpointConfig(), description=EndpointConfig.__doc__)
    embedder: EndpointConfig = Field(EndpointConfig(), description=EndpointConfig.__doc__)


class BudgetConfig(Section):
    """Limits on requests and spending over all runs, an oracle's apart, by the ledger. In no stage hash."""

    max_usd: Annotated[float, Field(ge=0)] | None = Field(
        None, description="Stop before spending more than this, by the price file; null: no limit"
    )
    max_requests: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Stop before more than this many requests are answered; null: no limit"
    )
    prices: Path = Field(
        Path("config/prices.yaml"),
        description="Price file for models with provider `openai`; the default ships with latentlake",
    )
