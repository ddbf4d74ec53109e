"""The estimate as tables for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

from pipeline.estimate.bounds import Bound
from pipeline.estimate.caching import in_time
from pipeline.llm.ledger.spent import Amount

_MILLION = 1_000_000
_COUNTS = ("requests", "known_requests", "prompt_tokens", "completion_tokens", "max_completion_tokens")
_AMOUNTS = ("cost_usd", "max_cost_usd", "seconds")
_A_FEATURE = ("requests_a_feature", "prompt_tokens_a_feature", "completion_tokens_a_feature")


def print_estimate(rows: pl.DataFrame, n_llm_features: int, console: Console) -> None:
    """Print what a run would send about one SAE, batch by batch, and the cost per million and of all features.

    `prompt` and `answers` are tokens; `known` are requests that the ledger answers.

    Args:
        rows: The SAE's rows of the table `estimate`.
        n_llm_features: Number of its features of route `llm`.
        console: The console to print to; a plain one.
    """
    for (sae, batch), some in rows.group_by("sae", "batch", maintain_order=True):
        console.print(f"{sae}, batch {batch}: what the next run sends, in requests and tokens", style="bold")
        console.print(_batch_table(some))
        if some["subject_tokens"].sum():
            console.print(_subject_sentence(some))
    if rows["requests"].sum() == 0:
        console.print("Nothing is left to send: 0 requests.")
    counted = rows.filter(pl.col("n_llm_features") > 0)
    if counted.is_empty():
        return
    sizes = [(f"per million llm features of {rows['sae'][0]}, from the mean of those counted", _MILLION)]
    if n_llm_features:
        sizes.append((f"all {n_llm_features:,} llm features of {rows['sae'][0]}", n_llm_features))
    for title, n_features in sizes:
        console.print(f"\n{title}", style="bold")
        console.print(_extrapolation(n_features, counted))


def bounds_table(bounds: Sequence[Bound]) -> Table:
    """A table of upper bounds, purpose by purpose."""
    table = _table("requests", "prompt", "answers", "USD")
    for each in bounds:
        counts = each.requests, each.prompt_tokens, each.completion_tokens
        table.add_row(each.purpose, *map(_short, counts), _usd(each.cost_usd))
    return table


def estimate_sentence(rows: pl.DataFrame) -> str:
    """One-line version: the maximum number of requests, with their tokens, cost and time."""
    total = rows.select(pl.col(*_COUNTS).sum(), *map(_known_sum, _AMOUNTS)).row(0, named=True)
    if not total["requests"]:
        seconds = f", {in_time(total['seconds'])}" if total["seconds"] else ""
        return f"nothing to ask: 0 requests{seconds}"
    words = f"at most {total['requests']:,} requests, about {_short(total['prompt_tokens'])} prompt tokens"
    if total["max_cost_usd"]:
        words += f", {_usd(total['cost_usd'])} USD (at most {_usd(total['max_cost_usd'])})"
    if total["seconds"] is not None:
        words += f", {in_time(total['seconds'])}"
    waits = waits_sentence(rows)
    return f"{words}; {waits}" if waits else words


def to_send(rows: pl.DataFrame) -> dict[str, Amount]:
    """What a run would send to each model: its requests, and their expected cost."""
    by_model = rows.group_by("model").agg(pl.col("requests", "cost_usd").sum()).iter_rows()
    return {model: Amount(requests, usd) for model, requests, usd in by_model}


def waits_sentence(rows: pl.DataFrame) -> str | None:
    """How often a run waits for a provider's batch; None if it sends none."""
    waits = rows["batch_waits"].sum()
    if not waits:
        return None
    by_purpose = rows.group_by("purpose", maintain_order=True).agg(pl.col("batch_waits").sum()).iter_rows()
    parts = ", ".join(f"{purpose} {n}" for purpose, n in by_purpose if n)
    return (
        f"the provider's batch API makes a run wait {waits:,} times, one after another, for a batch or a set of "
        f"batches ({parts}), at most a day each; each batch of features adds its own waits, so a larger "
        "selection.batch_size means fewer"
    )


def _subject_sentence(rows: pl.DataFrame) -> str:
    """The tokens that the subject model reads and writes for scorers."""
    by_purpose = rows.filter(pl.col("subject_tokens") > 0).select("purpose", "subject_tokens").iter_rows()
    counts = [f"{_short(n)} tokens for {purpose}" for purpose, n in by_purpose]
    return f"the subject model reads {', '.join(counts)}"


def _batch_table(rows: pl.DataFrame) -> Table:
    table = _table("requests", "known", "prompt", "answers", "at most", "USD", "at most", "time")
    for row in rows.iter_rows(named=True):
        table.add_row("  + controls" if row["is_control"] else row["purpose"], *_cells(row))
    counts = (*_COUNTS, "least_requests")
    total = rows.select(pl.col(*counts).sum(), *map(_known_sum, _AMOUNTS)).row(0, named=True)
    table.add_row("total", *_cells(total), style="bold")
    return table


def _cells(row: Mapping[str, Any]) -> list[str]:
    cost, most, seconds = (row[name] for name in _AMOUNTS)
    time = "?" if seconds is None else in_time(seconds)
    requests, *others = (_short(row[name]) for name in _COUNTS)
    least = "" if row["least_requests"] == row["requests"] else f"{_short(row['least_requests'])} to "
    return [f"{least}{requests}", *others, _usd(cost), _usd(most), time]


def _known_sum(name: str) -> pl.Expr:
    """The sum of a column; null if any value is unknown."""
    return pl.when(pl.col(name).is_null().any()).then(None).otherwise(pl.col(name).sum()).alias(name)


def _extrapolation(n_features: int, rows: pl.DataFrame) -> Table:
    """The means over the `llm` features that were counted, times a number of features."""
    table = _table("counted", "requests", "prompt", "answers", "USD")
    means = rows.group_by("purpose", maintain_order=True).agg(
        pl.col("n_llm_features").sum(),
        *(
            (pl.col(name) * pl.col("n_llm_features")).sum() / pl.col("n_llm_features").sum()
            for name in (*_A_FEATURE, "cost_usd_a_feature")
        ),
        # One stage asks one model, so its price is known in all batches or in none.
        pl.col("cost_usd_a_feature").is_null().any().alias("is_unpriced"),
    )
    for purpose, n_counted, *counts, usd, is_unpriced in means.iter_rows():
        cost = None if is_unpriced else usd * n_features
        table.add_row(purpose, f"{n_counted:,}", *(_short(count * n_features) for count in counts), _usd(cost))
    return table


def _table(*columns: str) -> Table:
    """A table of stages that fits a narrow terminal."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("stage", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _usd(value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value:,.2f}" if value >= 0.1 or value == 0 else f"{value:.2g}"


def _short(number: float) -> str:
    """A count in three digits: 1.23 M."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if number >= size:
            return f"{number / size:,.3g} {unit}"
    return f"{number:,.0f}"
