"""The roles in which language models are asked: who explains, who scores, and where each is reached."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline.config import Config, EndpointConfig, SubjectConfig
from pipeline.errors import ConfigError
from pipeline.llm.requests import Client

if TYPE_CHECKING:
    from pipeline.llm.ledger.answers import Ledger
    from pipeline.llm.local.client import LocalClient

RoleName = Literal["explainer", "scorer"]
ROLES: tuple[RoleName, ...] = ("explainer", "scorer")


@dataclass(frozen=True)
class Role:
    """A model and how it is asked, as the config says.

    Attributes:
        name: The role.
        provider: Who runs the model: this process, or a server.
        model: Its name.
        temperature: With which it writes.
        max_draws: How often an answer of no use is asked for again.
        endpoint: Where it is reached, where it runs on a server.
        device: Where it runs in this process.
        prices: The price file.
        local_model: Where the model is and its precision, where it runs in this process.
    """

    name: RoleName
    provider: str
    model: str
    temperature: float
    max_draws: int
    endpoint: EndpointConfig
    device: str
    prices: Path
    local_model: SubjectConfig

    @property
    def is_local(self) -> bool:
        """Whether the model runs in this process, which costs nothing."""
        return self.provider == "local"

    def open_client(self, ledger: "Ledger | None" = None) -> Client:
        """Whoever answers; nothing is sent yet, probes go to the ledger. Raises ConfigError without its key."""
        if self.is_local:
            return self.local_client()
        from pipeline.llm.server.client import OpenAIClient

        endpoint = self.endpoint
        return OpenAIClient(
            endpoint.base_url,
            endpoint.api_key_env,
            endpoint.max_concurrent,
            endpoint.timeout_seconds,
            endpoint.max_attempts,
            ledger,
            endpoint.api_key_header,
        )

    def local_client(self) -> "LocalClient":
        """The model in this process, loaded on first use. Raises SubjectError if there is none."""
        from pipeline.llm.local.client import LocalClient

        return LocalClient(self.local_model, self.device)


def role_of(config: Config, name: RoleName) -> Role:
    """A role of an experiment."""
    section = config.explaining if name == "explainer" else config.scoring
    return Role(
        name,
        section.provider,
        section.model,
        section.temperature,
        section.max_draws,
        config.endpoints.explainer if name == "explainer" else config.endpoints.scorer,
        config.device,
        config.budget.prices,
        config.in_process(section),
    )


def check_endpoints(config: Config) -> None:
    """Raise ConfigError if an endpoint's address is none or its key is not set, unless max_requests is 0."""
    for name in ROLES if config.budget.max_requests != 0 else ():
        try:
            role_of(config, name).open_client()
        except ConfigError as error:
            raise ConfigError(f"endpoints.{name}: {error}") from None
