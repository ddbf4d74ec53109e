"""A batch's requests put to the explainer or the scorer, through the batch's ledger."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from pipeline.config import Config, SubjectConfig
from pipeline.lake import LEDGER_FOLDER, Lake
from pipeline.llm import Answer, Client, Ledger, Request, ask
from pipeline.progress import progress

Asset = Literal["explanations", "predictions"]


class Asked(NamedTuple):
    """The answers by request_id, and the figures that a person wants: sent, replayed, tokens."""

    answers: dict[str, Answer]
    figures: dict[str, float | int | str]


def ask_batch(lake: Lake, asset: Asset, sae: str, batch: int, requests: Sequence[Request]) -> Asked:
    """Ask what the ledger does not hold yet; every answer is in the ledger before it is used.

    Raises:
        LakeError: Another run is at work on the batch.
        ConfigError: The endpoint cannot be used as the config says.
    """
    size = lake.config.selection.batch_size
    first, last = batch * size, (batch + 1) * size - 1
    sent: list[Answer] = []
    with Ledger(lake.root / LEDGER_FOLDER, asset, sae, first, last) as ledger:
        waiting = {request.request_id for request in requests if ledger.replay(request) is None}
        what = f"{asset} of {sae}, batch {batch}"
        with progress(len(waiting), what, "requests") as bar:

            def count(answer: Answer) -> None:
                if answer.request_id in waiting:
                    sent.append(answer)
                    bar.update(1)

            # Without anything to ask no model is loaded and no key is needed.
            client = open_client(lake.config, asset) if waiting else _NoClient()
            answers = ask(ledger, client, requests, on_answer=count)
    figures: dict[str, float | int | str] = {
        "requests_sent": len(sent),
        "requests_replayed": len(answers) - len(sent),
        "prompt_tokens": sum(answer.prompt_tokens or 0 for answer in sent),
        "cached_tokens": sum(answer.cached_tokens or 0 for answer in sent),
        "completion_tokens": sum(answer.completion_tokens or 0 for answer in sent),
    }
    return Asked(answers, figures)


def open_client(config: Config, asset: Asset) -> Client:
    """The client of the explainer or the scorer. Raises ConfigError if its key is not set."""
    explains = asset == "explanations"
    provider = config.explaining.provider if explains else config.scoring.provider
    if provider == "local":
        from pipeline.llm.local_client import LocalClient

        model = config.explaining.model if explains else config.scoring.model
        return LocalClient(SubjectConfig(model=model), config.device)
    from pipeline.llm.openai_client import OpenAIClient

    endpoint = config.endpoints.explainer if explains else config.endpoints.scorer
    return OpenAIClient(endpoint.base_url, endpoint.api_key_env, endpoint.max_concurrent)


class _NoClient:
    """Stands in where nothing is to be asked."""

    def answer(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """No answers."""
        return iter(())
