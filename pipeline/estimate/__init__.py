"""The estimate: requests, tokens, dollars and time of the next run, before anything is sent."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import polars as pl
import pyarrow as pa

from pipeline.asking.roles import Role, RoleName, role_of, roles_of
from pipeline.asking.spending import prices_of
from pipeline.asking.unfinished import is_whole
from pipeline.estimate.counting import Counted, Needs, count_requests
from pipeline.estimate.tokens import TokenCounter, foreign_counter, own_counter
from pipeline.features.selection import select_features
from pipeline.lake import Lake, Published
from pipeline.llm import Message
from pipeline.llm.ledger.prices import Prices
from pipeline.llm.local.client import LocalClient
from pipeline.make_table import read_rows
from pipeline.models.load import load_tokenizer
from pipeline.tables import TABLES
from pipeline.tables.versions import inputs_of

Row = dict[str, object]

_COUNTS = ("n_features", "n_llm_features", "requests", "least_requests", "known_requests", "subject_tokens")
_TOKENS = ("prompt_tokens", "completion_tokens", "max_completion_tokens")
_NOTHING: Row = dict.fromkeys((*_COUNTS, *_TOKENS, "cached_tokens"), 0)
"""The counts of a row of which nothing is known yet: none of them may be null."""


def write_estimate(lake: Lake, sae: str) -> Published:
    """Estimate what the next run would send about an SAE; figures: requests, tokens, dollars.

    Raises:
        LakeError: An input is missing.
        ConfigError: The selection or the price file does not work.
    """
    table = estimate(lake, sae)
    published = lake.write("estimate", table, sae=sae)
    return replace(published, figures=_figures(pl.DataFrame(table)))


def estimate(lake: Lake, sae: str) -> pa.Table:
    """The rows of the table `estimate`: the batches that the next run takes, purpose by purpose.

    Everything is counted that is selected now and that the ledger does not hold. Raises as `write_estimate`.
    """
    lake.require(*inputs_of(lake.config, "estimate"), sae=sae)
    askers = {name: _asker(lake, role_of(lake.config, name)) for name in roles_of(lake.config)}
    # As each run does first: the selection can have changed since the table was made.
    selected = select_features(lake, sae)
    batches = read_rows(lake, "selected_batches", sae=sae, given={"selected_features": selected})["batch"]
    unfinished = lake.query("unfinished_batches", given={"selected_features": selected}).filter(sae=sae)["batch"]
    rows: list[Row] = []
    for batch in batches.to_pylist()[: lake.config.selection.batches_per_run]:
        is_unfinished = batch in unfinished or not is_whole(lake, sae, batch)
        needs = count_requests(lake, sae, batch, selected, is_unfinished=is_unfinished)
        if "steered_texts" in needs.subject_tokens:
            tokens = needs.subject_tokens["steered_texts"]
            rows.append(_row_of_process(lake, sae, batch, "steered_texts", tokens))
        rows += _rows(sae, batch, needs, askers)
        for scorer, seconds in needs.own_seconds.items():
            rows.append(_row_of_process(lake, sae, batch, scorer, 0, seconds))
    return pa.Table.from_pylist(rows, TABLES["estimate"].schema)


class _Rate(NamedTuple):
    """What recorded answers took on average; None where nothing is recorded."""

    completion_tokens: float | None = None
    cached_share: float = 0.0
    duration_ms: float | None = None


class _Asker(NamedTuple):
    """What is known of a role's model; `local` is the one that runs in this process."""

    model: str
    counter: TokenCounter
    prices: Prices
    rates: dict[str, _Rate]
    at_once: int
    local: LocalClient | None = None
    is_batched: bool = False


def _asker(lake: Lake, role: Role) -> _Asker:
    config, model = lake.config, role.model
    local = role.local_client() if role.is_local else None
    if local:
        counter = own_counter(load_tokenizer(local.subject))
    else:
        recorded = lake.query("recorded_prompts", model=model).iter_rows()
        prompts = [([Message(**each) for each in messages], tokens) for messages, tokens in recorded]
        counter = foreign_counter(load_tokenizer(config.subject), prompts, role.name == "embedder")
    rates = {
        purpose: _Rate(*figures) for purpose, *figures in lake.query("recorded_rates", model=model).iter_rows()
    }
    at_once = 1 if local else role.endpoint.max_concurrent
    return _Asker(model, counter, prices_of(role), rates, at_once, local, role.batches is not None)


def _row_of_process(
    lake: Lake, sae: str, batch: int, purpose: str, subject_tokens: int, seconds: float | None = None
) -> Row:
    """The row of what a model does in this process, for which no request is sent."""
    return _NOTHING | {
        **{"sae": sae, "batch": batch, "purpose": purpose, "model": lake.config.subject.model},
        **{"cost_usd": 0.0, "max_cost_usd": 0.0, "tokens_by": "its own tokenizer"},
        "seconds": seconds,
        "subject_tokens": subject_tokens,
    }


def _rows(sae: str, batch: int, needs: Needs, askers: dict[RoleName, _Asker]) -> Iterator[Row]:
    """One row a purpose, in the order of the requests."""
    by_purpose: dict[str, list[Counted]] = {}
    for each in needs.requests:
        by_purpose.setdefault(each.request.purpose, []).append(each)
    for purpose, some in by_purpose.items():
        asker = askers[some[0].role]
        yield _NOTHING | {
            **{"sae": sae, "batch": batch, "purpose": purpose, "model": asker.model},
            **_sums(some, asker, asker.rates.get(purpose, _Rate())),
            "batch_waits": needs.rounds[purpose] if asker.is_batched else None,
            "subject_tokens": needs.subject_tokens.get(purpose, 0),
            "tokens_by": asker.counter.by,
        }


def _sums(some: Sequence[Counted], asker: _Asker, rate: _Rate) -> Row:
    """What the requests of one purpose add up to: tokens, dollars, time, and the means of plain features."""
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
    """What a feature of route `llm` takes on average."""
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
    """The tokens that each answer is expected to have: the mean of recorded ones, else its stand-in's."""
    expected = counter.texts([each.answer for each in some])
    if rate.completion_tokens is not None:
        expected = [rate.completion_tokens] * len(some)
    return [min(tokens, each.request.most_tokens) for tokens, each in zip(expected, some, strict=True)]


def _figures(rows: pl.DataFrame) -> dict[str, float | int | str]:
    """The sums that a person wants; dollars only if every price is known."""
    counts = ("requests", "known_requests", "prompt_tokens", "completion_tokens")
    dollars = () if rows["cost_usd"].has_nulls() else ("cost_usd", "max_cost_usd")
    figures: dict[str, float | int | str] = rows.select(pl.col(*counts, *dollars).sum()).row(0, named=True)
    return figures
