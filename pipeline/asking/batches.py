"""A batch's requests put to the explainer or the scorer, through the batch's ledger."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pipeline.asking.spending import ASKING, Asset, endpoint_of, is_local, open_budget, prices_of
from pipeline.config import Config, SubjectConfig
from pipeline.errors import ConfigError
from pipeline.lake import LEDGER_FOLDER, Lake
from pipeline.llm import Answer, Client, Ledger, Request, ask
from pipeline.llm.draws import IsUsable, ask_draws
from pipeline.progress import progress

if TYPE_CHECKING:
    from pipeline.llm.local.client import LocalClient


class BatchAsker:
    """Asks what a stage wants to know about a batch; use it as a context manager.

    The batch's ledger stays locked while it is open, and the client is opened with the first request that the
    ledger cannot answer, so that without one no model is loaded and no key is needed.
    """

    def __init__(self, lake: Lake, asset: Asset, sae: str, batch: int) -> None:
        self._config, self._asset = lake.config, asset
        self._ledger = open_ledger(lake, asset, sae, batch)
        self._budget = open_budget(lake.config, asset)
        self._what = f"{asset} of {sae}, batch {batch}"
        self._client: Client | None = None
        self._waiting: set[str] = set()
        self._sent: list[Answer] = []
        self._n_replayed = 0

    def __enter__(self) -> Self:
        """Lock the ledger. Raises LakeError if another run is at work on the batch."""
        with ExitStack() as stack:
            stack.enter_context(self._ledger)
            stack.enter_context(self._budget)
            self._bar = stack.enter_context(progress(0, self._what, "requests"))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def figures(self) -> dict[str, float | int | str]:
        """What a person wants to know: requests sent and replayed, tokens of those sent."""
        return {
            "requests_sent": len(self._sent),
            "requests_replayed": self._n_replayed,
            "prompt_tokens": sum(answer.prompt_tokens or 0 for answer in self._sent),
            "cached_tokens": sum(answer.cached_tokens or 0 for answer in self._sent),
            "completion_tokens": sum(answer.completion_tokens or 0 for answer in self._sent),
        }

    def ask(
        self, requests: Sequence[Request], is_usable: IsUsable = lambda request, answer: True
    ) -> dict[str, Answer]:
        """The answer that counts, by request_id; every answer is in the ledger before it is used.

        What is refused, truncated or not usable is asked again as the next draw, up to the section's `max_draws`.
        Raises ConfigError if the endpoint cannot be used as the config says.
        """
        section = self._config.explaining if self._asset == "explanations" else self._config.scoring
        answers = ask_draws(self._ask_draw, requests, section.max_draws, is_usable)
        self._n_replayed += sum(answer.request_id not in self._waiting for answer in answers.values())
        return answers

    def _ask_draw(self, requests: Sequence[Request]) -> dict[str, Answer]:
        new = {request.request_id for request in requests if self._ledger.replay(request) is None}
        self._waiting |= new
        self._bar.total = len(self._waiting)
        if new and self._client is None:
            self._client = open_client(self._config, self._asset, self._ledger)
        client = self._client or _NoClient()
        return ask(self._ledger, client, requests, budget=self._budget, on_answer=self._count)

    def _count(self, answer: Answer) -> None:
        if answer.request_id in self._waiting and answer.status != "budget":
            self._sent.append(answer)
            self._bar.update(1)


def open_ledger(lake: Lake, asset: Asset, sae: str, batch: int) -> Ledger:
    """The ledger of what a stage asks about a batch, to be used as a context manager."""
    size = lake.config.selection.batch_size
    first, last = batch * size, (batch + 1) * size - 1
    return Ledger(lake.root / LEDGER_FOLDER, asset, sae, first, last, prices_of(lake.config, asset))


def check_endpoints(config: Config) -> None:
    """Raise ConfigError if an endpoint's address is none or its key is not set, unless max_requests is 0."""
    if config.budget.max_requests == 0:
        return
    for asset in ASKING:
        try:
            open_client(config, asset)
        except ConfigError as error:
            place = "explainer" if asset == "explanations" else "scorer"
            raise ConfigError(f"endpoints.{place}: {error}") from None


def open_client(config: Config, asset: Asset, ledger: Ledger | None = None) -> Client:
    """The client of the explainer or the scorer; nothing is sent. Raises ConfigError if its key is not set."""
    if is_local(config, asset):
        return local_client(config, asset)
    from pipeline.llm.server.client import OpenAIClient

    endpoint = endpoint_of(config, asset)
    return OpenAIClient(
        endpoint.base_url,
        endpoint.api_key_env,
        endpoint.max_concurrent,
        endpoint.timeout_seconds,
        endpoint.max_attempts,
        ledger,
    )


def local_client(config: Config, asset: Asset) -> "LocalClient":
    """The model in this process that a stage asks, loaded on first use. Raises SubjectError if there is none."""
    from pipeline.llm.local.client import LocalClient

    role = config.explaining if asset == "explanations" else config.scoring
    return LocalClient(SubjectConfig(model=role.model, dtype=role.dtype), config.device)


class _NoClient:
    """Stands in where nothing is to be asked."""

    def answer(self, requests: Sequence[Request]) -> Iterator[Sequence[Answer]]:
        """No answers."""
        return iter(())
