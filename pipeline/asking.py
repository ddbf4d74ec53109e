"""A batch's requests put to the explainer or the scorer, through the batch's ledger."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pipeline.config import Config, SubjectConfig
from pipeline.lake import LEDGER_FOLDER, Lake
from pipeline.llm import Answer, Client, Ledger, Request, ask
from pipeline.llm.draws import IsUsable, ask_draws
from pipeline.progress import progress
from pipeline.spending import Asset, open_budget, prices_of


class Asked(NamedTuple):
    """The answer that counts by the request_id of draw 0, and figures for people: sent, replayed, tokens."""

    answers: dict[str, Answer]
    figures: dict[str, float | int | str]


def ask_batch(
    lake: Lake,
    asset: Asset,
    sae: str,
    batch: int,
    requests: Sequence[Request],
    is_usable: IsUsable = lambda request, answer: True,
) -> Asked:
    """Ask what the ledger does not hold yet; every answer is in the ledger before it is used.

    What is refused, truncated or not usable is asked again as the next draw, up to the section's `max_draws`.

    Raises:
        LakeError: Another run is at work on the batch.
        ConfigError: The endpoint or the budget cannot be used as the config says.
    """
    sent: list[Answer] = []
    with open_ledger(lake, asset, sae, batch) as ledger, open_budget(lake.config, asset) as budget:
        waiting: set[str] = set()
        client: Client | None = None
        what = f"{asset} of {sae}, batch {batch}"
        with progress(0, what, "requests") as bar:

            def count(answer: Answer) -> None:
                if answer.request_id in waiting and answer.status != "budget":
                    sent.append(answer)
                    bar.update(1)

            def ask_draw(some: Sequence[Request]) -> dict[str, Answer]:
                nonlocal client
                new = {request.request_id for request in some if ledger.replay(request) is None}
                waiting.update(new)
                bar.total = len(waiting)
                # Without anything to ask no model is loaded and no key is needed.
                if new and client is None:
                    client = open_client(lake.config, asset, ledger)
                return ask(ledger, client or _NoClient(), some, budget=budget, on_answer=count)

            section = lake.config.explaining if asset == "explanations" else lake.config.scoring
            answers = ask_draws(ask_draw, requests, section.max_draws, is_usable)
    figures: dict[str, float | int | str] = {
        "requests_sent": len(sent),
        "requests_replayed": sum(answer.request_id not in waiting for answer in answers.values()),
        "prompt_tokens": sum(answer.prompt_tokens or 0 for answer in sent),
        "cached_tokens": sum(answer.cached_tokens or 0 for answer in sent),
        "completion_tokens": sum(answer.completion_tokens or 0 for answer in sent),
    }
    return Asked(answers, figures)


def open_ledger(lake: Lake, asset: Asset, sae: str, batch: int) -> Ledger:
    """The ledger of what a stage asks about a batch, to be used as a context manager."""
    size = lake.config.selection.batch_size
    first, last = batch * size, (batch + 1) * size - 1
    return Ledger(lake.root / LEDGER_FOLDER, asset, sae, first, last, prices_of(lake.config, asset))


def open_client(config: Config, asset: Asset, ledger: Ledger) -> Client:
    """The client of the explainer or the scorer. Raises ConfigError if its key is not set."""
    explains = asset == "explanations"
    provider = config.explaining.provider if explains else config.scoring.provider
    if provider == "local":
        from pipeline.llm.local_client import LocalClient

        model = config.explaining.model if explains else config.scoring.model
        return LocalClient(SubjectConfig(model=model), config.device)
    from pipeline.llm.openai_client import OpenAIClient

    endpoint = config.endpoints.explainer if explains else config.endpoints.scorer
    return OpenAIClient(
        endpoint.base_url,
        endpoint.api_key_env,
        endpoint.max_concurrent,
        endpoint.timeout_seconds,
        endpoint.max_attempts,
        ledger,
    )


class _NoClient:
    """Stands in where nothing is to be asked."""

    def answer(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """No answers."""
        return iter(())
