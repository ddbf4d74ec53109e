"""Makes the table `estimate`: what the next run would send, by batch and purpose, and what it would cost."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.asking.roles import ModelRole, RoleName, role_of, roles_of
from pipeline.asking.spending import prices_of
from pipeline.asking.stand_ins import Counted
from pipeline.estimate.counting import Needs, count_requests
from pipeline.estimate.selection import batches_of
from pipeline.estimate.tokens import TokenCounter, foreign_counter, own_counter
from pipeline.features.selection import select_features
from pipeline.lake import LEDGER_FOLDER, Lake, Published
from pipeline.lake.catalog import create_requests_view
from pipeline.lake.publishing import temporary_path
from pipeline.llm import Message
from pipeline.llm.ledger.files import last_lines
from pipeline.llm.ledger.prices import Prices
from pipeline.llm.local.client import LocalClient
from pipeline.models.load import load_tokenizer
from pipeline.pilot.write import features_to_ask
from pipeline.tables import TABLES
from pipeline.tables.inputs import inputs_of

Row = dict[str, object]

_RECORDED_BYTES = 1 << 24
"""Of each table's ledger, for averages over recorded answers: some 4,000 requests."""

_COUNTS = ("n_features", "n_llm_features", "requests", "least_requests", "known_requests", "subject_tokens")
_TOKENS = ("prompt_tokens", "completion_tokens", "max_completion_tokens")
_NOTHING: Row = dict.fromkeys((*_COUNTS, *_TOKENS, "cached_tokens"), 0)
"""The counts of a row about which nothing is known yet: none of them may be null."""


def write_estimate(lake: Lake, sae: str) -> Published:
    """Estimate what the next run would send about an SAE; figures: requests, tokens, USD.

    Raises:
        LakeError: An input is missing.
        ConfigError: The selection or the price file is invalid.
    """
    table = estimate(lake, sae)
    published = lake.write("estimate", table, sae=sae)
    return replace(published, figures=_figures(pl.DataFrame(table)))


def estimate(lake: Lake, sae: str) -> pa.Table:
    """The rows of the table `estimate`: the batches of the next run, purpose by purpose, controls apart.

    It counts everything that is selected now and that the ledger does not contain. Raises as `write_estimate`.
    """
    lake.require(*inputs_of(lake.config, "estimate"), sae=sae)
    with _recorded(lake) as recorded:
        askers = {name: _asker(lake, role_of(lake.config, name), recorded) for name in roles_of(lake.config)}
    # As at the start of a run: the selection may have changed since the table was made.
    selected = select_features(lake, sae)
    pilot = features_to_ask(lake, sae, selected)
    rows: list[Row] = []
    rates: dict[str, float] = {}
    taken = batches_of(lake, sae, selected).filter("is_taken").select("batch", "is_unfinished")
    for batch, is_unfinished in taken.iter_rows():
        own_pilot = pilot.filter(pc.equal(pilot["batch"], batch))
        needs = count_requests(lake, sae, batch, selected, own_pilot, is_unfinished=is_unfinished, rates=rates)
        for name, tokens in needs.subject_tokens.items():
            if name in TABLES and tokens:  # a scorer's are in the row of its requests
                rows.append(_row_of_process(lake, sae, batch, name, tokens))
        rows += _rows(sae, batch, needs, askers)
        for scorer, seconds in needs.own_seconds.items():
            rows.append(_row_of_process(lake, sae, batch, scorer, 0, seconds))
    return pa.Table.from_pylist(rows, TABLES["estimate"].schema)


class _Rate(NamedTuple):
    """Averages over recorded answers; None if nothing is recorded."""

    completion_tokens: float | None = None
    cached_share: float = 0.0
    duration_ms: float | None = None


class _Asker(NamedTuple):
    """A role's model and what is known about it; `local` is set if it runs in this process."""

    model: str
    counter: TokenCounter
    prices: Prices
    rates: dict[str, _Rate]
    at_once: int
    local: LocalClient | None = None
    is_batched: bool = False


@contextmanager
def _recorded(lake: Lake) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection whose `llm_requests` are the latest: averages need no more, and all may be gigabytes."""
    path = temporary_path(lake.root, "recorded.jsonl").absolute()
    with lake.connect(tables=["llm_requests"]) as connection:
        with path.open("wb") as file:
            file.writelines(last_lines(lake.root / LEDGER_FOLDER, _RECORDED_BYTES))
        try:
            create_requests_view(connection, [path])
            yield connection
        finally:
            path.unlink()


def _asker(lake: Lake, role: ModelRole, recorded: duckdb.DuckDBPyConnection) -> _Asker:
    config, model = lake.config, role.model
    local = role.local_client() if role.is_local else None
    if local:
        counter = own_counter(load_tokenizer(local.subject))
    else:
        found = lake.select(recorded, "recorded_prompts", model=model).fetchall()
        prompts = [([Message(**each) for each in messages], tokens) for messages, tokens in found]
        counter = foreign_counter(load_tokenizer(config.subject), prompts, is_of_texts=role.name == "embedder")
    found = lake.select(recorded, "recorded_rates", model=model).fetchall()
    rates = {purpose: _Rate(*figures) for purpose, *figures in found}
    at_once = 1 if local else role.endpoint.max_concurrent
    return _Asker(model, counter, prices_of(role), rates, at_once, local, role.batches is not None)


def _row_of_process(
    lake: Lake, sae: str, batch: int, purpose: str, subject_tokens: int, seconds: float | None = None
) -> Row:
    """The row of work in this process, for which no request is sent."""
    return _NOTHING | {
        **{"sae": sae, "batch": batch, "purpose": purpose, "is_control": False},
        "model": lake.config.subject.model,
        **{"cost_usd": 0.0, "max_cost_usd": 0.0, "tokens_by": "its own tokenizer"},
        "seconds": seconds,
        "subject_tokens": subject_tokens,
    }


def _rows(sae: str, batch: int, needs: Needs, askers: dict[RoleName, _Asker]) -> Iterator[Row]:
    """One row per purpose, in the order of the requests, and one for those of them that are about controls."""
    by_purpose: dict[str, list[Counted]] = {}
    for each in needs.requests:
        by_purpose.setdefault(each.request.purpose, []).append(each)
    for purpose, of_purpose in by_purpose.items():
        asker = askers[of_purpose[0].role]
        of_both = {  # what a row of controls shares with the other
            "batch_waits": needs.rounds[purpose] if asker.is_batched else None,
            "subject_tokens": needs.subject_tokens.get(purpose, 0),
        }
        for is_control in (False, True):
            if some := [each for each in of_purpose if each.is_control == is_control]:
                yield _NOTHING | {
                    **{"sae": sae, "batch": batch, "purpose": purpose, "is_control": is_control},
                    **{"model": asker.model, "tokens_by": asker.counter.by},
                    **_sums(some, asker, asker.rates.get(purpose, _Rate())),
                    **of_both,
                }
                of_both = {}


def _sums(some: Sequence[Counted], asker: _Asker, rate: _Rate) -> Row:
    """The totals of one purpose's requests (tokens, cost, time), and the means over plain features."""
    requests = pl.DataFrame(
        {
            "feature": [each.request.feature for each in some],
            "is_new": [not each.is_known for each in some],
            "is_certain": [each.is_certain for each in some],
            "is_plain": [each.is_plain for each in some],
            "prompt_tokens": asker.counter.prompts([each.request.messages for each in some]),
            "completion_tokens": _completions(some, asker.counter, rate),
            "max_completion_tokens": [each.request.most_tokens for each in some],
        }
    )
    new, plain = requests.filter("is_new"), requests.filter("is_plain")
    prompt_tokens, completion_tokens, most = new.select(_TOKENS).sum().row(0)
    cached_tokens, seconds = rate.cached_share * prompt_tokens, None
    if asker.local:
        sent = [each.request for each in some if not each.is_known]
        work = asker.local.work_of(sent)
        cached_tokens = prompt_tokens - work.new_tokens
        seconds = asker.local.measure(sent).seconds(work) if sent else 0.0
    elif rate.duration_ms is not None and not asker.is_batched:
        seconds = new.height * rate.duration_ms / 1000 / asker.at_once
    usd = partial(asker.prices.usd, asker.model, in_batch=asker.is_batched)
    return {
        "n_features": requests["feature"].n_unique(),
        "requests": new.height,
        "least_requests": new["is_certain"].sum(),
        "known_requests": requests.height - new.height,
        "prompt_tokens": round(prompt_tokens),
        "cached_tokens": round(cached_tokens),
        "completion_tokens": round(completion_tokens),
        "max_completion_tokens": most,
        "cost_usd": usd(prompt_tokens, completion_tokens, cached_tokens),
        "max_cost_usd": usd(prompt_tokens, most),
        "seconds": seconds,
        **(_means(plain, usd) if plain.height else {}),
    }


def _means(plain: pl.DataFrame, usd: Callable[[float, float], float | None]) -> Row:
    """The means per feature of route `llm`."""
    n_features = plain["feature"].n_unique()
    prompt_tokens, completion_tokens, _ = (plain.select(_TOKENS).sum() / n_features).row(0)
    return {
        "n_llm_features": n_features,
        "requests_a_feature": plain.height / n_features,
        "prompt_tokens_a_feature": prompt_tokens,
        "completion_tokens_a_feature": completion_tokens,
        "cost_usd_a_feature": usd(prompt_tokens, completion_tokens),
    }


def _completions(some: Sequence[Counted], counter: TokenCounter, rate: _Rate) -> list[float]:
    """The expected tokens of each answer: the mean of recorded answers, else those of its stand-in."""
    expected = counter.texts([each.answer for each in some])
    if rate.completion_tokens is not None:
        expected = [rate.completion_tokens] * len(some)
    return [min(tokens, float(each.request.most_tokens)) for tokens, each in zip(expected, some, strict=True)]


def _figures(rows: pl.DataFrame) -> dict[str, float | int | str]:
    """The totals to report; the cost only if every price is known."""
    counts = ("requests", "known_requests", "prompt_tokens", "completion_tokens")
    dollars = () if rows["cost_usd"].has_nulls() else ("cost_usd", "max_cost_usd")
    figures: dict[str, float | int | str] = rows.select(pl.col(*counts, *dollars).sum()).row(0, named=True)
    return figures
