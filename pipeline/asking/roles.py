"""The roles in which models are asked (explainer, scorer, embedder), and how each model is reached."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline.config import (
    ChatEndpointConfig,
    Config,
    EndpointConfig,
    ExplainingOracleConfig,
    LocalConfig,
    OracleConfig,
    ScoringOracleConfig,
)
from pipeline.errors import ConfigError
from pipeline.llm.requests import Client
from pipeline.plugins import find_plugin

if TYPE_CHECKING:
    from pipeline.llm.ledger.answers import Ledger
    from pipeline.llm.local.client import LocalClient
    from pipeline.llm.oracle.brain import Truth

RoleKind = Literal["explainer", "scorer", "embedder"]
"""What a model is asked to be."""

RoleName = str
"""A kind of role, or one with a model of `scoring.models`: in `scorer@mini`, the model `mini` scores."""


@dataclass(frozen=True)
class ModelRole:
    """A model and how it is asked, as configured.

    Attributes:
        name: The role.
        provider: What answers: `local` (a model in this process), `openai` (a server) or `oracle`.
        model: The model's name.
        temperature: Sampling temperature.
        max_draws: Maximum draws of a request until an answer can be used.
        endpoint: The server, for provider `openai`.
        device: The device, for provider `local`.
        prices: The price file.
        local_model: The model's location and precision, for provider `local`.
        oracle: Error and failure rates, for provider `oracle`.
    """

    name: RoleName
    provider: str
    model: str
    temperature: float
    max_draws: int
    endpoint: EndpointConfig
    device: str
    prices: Path
    local_model: LocalConfig
    oracle: OracleConfig

    @property
    def suffix(self) -> str:
        """The suffix of the names of scorers that ask in this role: `@mini`, or empty."""
        return "".join(self.name.partition("@")[1:])

    @property
    def is_local(self) -> bool:
        """Whether a model in this process answers."""
        return self.provider == "local"

    @property
    def is_oracle(self) -> bool:
        """Whether the oracle answers instead of a model."""
        return self.provider == "oracle"

    @property
    def is_free(self) -> bool:
        """Whether answers cost nothing."""
        return self.is_local or self.is_oracle

    @property
    def batches(self) -> ChatEndpointConfig | None:
        """The endpoint, if requests go through its provider's batch API; else None."""
        if self.provider == "openai" and isinstance(self.endpoint, ChatEndpointConfig) and self.endpoint.batch:
            return self.endpoint
        return None

    def open_client(
        self, ledger: "Ledger | None" = None, read_truth: "Callable[[], Truth] | None" = None
    ) -> Client:
        """The client that answers; nothing is sent yet. Raises ConfigError if its key is not set.

        Args:
            ledger: The ledger that records probes, and next to which a provider's batches are noted.
            read_truth: Reads the truth for an oracle; without it, the oracle knows nothing.
        """
        if self.is_local:
            return self.local_client()
        if self.is_oracle:
            return self._oracle_client(read_truth)
        from pipeline.llm.server.client import OpenAIClient
        from pipeline.llm.server.embeddings import EmbeddingsClient
        from pipeline.llm.server.endpoint import open_endpoint

        endpoint = open_endpoint(self.endpoint)
        if self.name == "embedder":
            return EmbeddingsClient(endpoint)
        client = OpenAIClient(endpoint, ledger)
        if not (batches := self.batches):
            return client
        from pipeline.llm.provider_batches.client import BatchClient
        from pipeline.llm.provider_batches.journal import Journal

        return BatchClient(client, Journal(ledger) if ledger else None, batches)

    def _oracle_client(self, read_truth: "Callable[[], Truth] | None") -> Client:
        from pipeline.asking.oracle_answers import answer_by_plugin
        from pipeline.llm.oracle.brain import Oracle, Rates, truth_of
        from pipeline.llm.oracle.client import OracleClient

        own, rates = self.oracle, Rates()
        truth = read_truth() if read_truth else truth_of((), {})
        if isinstance(own, ScoringOracleConfig):
            rates = Rates(own.false_positive_rate, own.false_negative_rate)
        wrong_rate = own.wrong_rate if isinstance(own, ExplainingOracleConfig) else 0.0
        oracle = Oracle(truth, lambda feature: rates, wrong_rate=wrong_rate)
        return OracleClient(self.model, oracle, own.refusal_rate, own.garbled_rate, answer_by_plugin)

    def local_client(self) -> "LocalClient":
        """The model in this process, loaded on first use. Raises SubjectError if it does not exist."""
        from pipeline.llm.local.client import LocalClient

        return LocalClient(self.local_model, self.device)


def roles_of(config: Config) -> tuple[RoleName, ...]:
    """The roles in which an experiment's plug-ins ask models."""
    explainers = (find_plugin("explainers", name) for name in config.explaining.explainers)
    explainer = ("explainer",) if any(plugin.asks_model for plugin in explainers) else ()
    judge = ("scorer",) if config.explaining.n_judging else ()
    scorers = (scorer_role(name) for name in config.scoring.scorers if find_plugin("scorers", name).asks_model)
    embedder = ("embedder",) if config.scoring.embedder else ()
    return tuple(dict.fromkeys((*explainer, *judge, *scorers, *embedder)))


def scorer_roles(config: Config) -> tuple[RoleName, ...]:
    """The distinct roles in which an experiment's scorers ask."""
    return tuple(dict.fromkeys(map(scorer_role, config.scoring.scorers)))


def scorer_role(scorer: str) -> RoleName:
    """The role in which a scorer asks: `scorer`, or `scorer@mini` for `detection@mini`."""
    return "".join(("scorer", *scorer.partition("@")[1:]))


def role_of(config: Config, name: RoleName) -> ModelRole:
    """A role of an experiment; the embedder is always on a server."""
    config = config.asked_by(name)
    if name == "embedder":
        return replace(
            role_of(config, "scorer"),
            name=name,
            provider="openai",
            model=config.scoring.embedder or "",
            max_draws=1,
            endpoint=config.endpoints.embedder,
        )
    section = config.section_of("explainers" if name == "explainer" else "scorers")
    return ModelRole(
        name,
        section.provider,
        section.asked_model,
        section.temperature,
        section.max_draws,
        getattr(config.endpoints, name.partition("@")[0]),
        config.device,
        config.budget.prices,
        config.in_process(section),
        section.oracle,
    )


def find_local_models(config: Config) -> None:
    """Download and convert the roles' models that run in this process. Raises SubjectError if that fails."""
    from pipeline.models.load import find_files

    for name in roles_of(config) if config.budget.max_requests != 0 else ():
        role = role_of(config, name)
        if role.is_local:
            find_files(role.local_model)


def oracle_sentence(config: Config) -> str | None:
    """A sentence that names the roles in which an oracle answers; None if only models answer."""
    oracles = [role for role in map(partial(role_of, config), roles_of(config)) if role.is_oracle]
    if not oracles:
        return None
    who = " and ".join(f"the {role.name} is an {role.model}" for role in oracles)
    return f"A rehearsal: {who}. These are not a model's answers, and the scores say nothing about any model."


def check_endpoints(config: Config) -> None:
    """Raise ConfigError if an endpoint's address is invalid or its key is not set, unless max_requests is 0.

    Raises SubjectError if a model that runs in this process does not exist.
    """
    for name in roles_of(config) if config.budget.max_requests != 0 else ():
        try:
            role_of(config, name).open_client()
        except ConfigError as error:
            raise ConfigError(f"{_endpoint_key(config, name)}: {error}") from None


def _endpoint_key(config: Config, name: RoleName) -> str:
    """The config key of a role's endpoint."""
    model = name.partition("@")[2]
    has_own = model and config.scoring.models[model].endpoint
    return f"scoring.models.{model}.endpoint" if has_own else f"endpoints.{name.partition('@')[0]}"
