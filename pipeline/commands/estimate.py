"""`make estimate`: disk and time for caching, and what a run would send, before anything is sent or recorded."""

from collections.abc import Iterator, Sequence

import polars as pl
from rich.console import Console

from pipeline.asking.roles import oracle_sentence
from pipeline.asking.spending import budget_sentence, shortfall_sentence
from pipeline.config import load_config
from pipeline.corpus.slots import check_first_texts
from pipeline.estimate.bounds import bounds_of, most_features
from pipeline.estimate.caching import caching_cost
from pipeline.estimate.printing import bounds_table, print_estimate, to_send, waits_sentence
from pipeline.estimate.selection import beyond_run_note, selection_notes
from pipeline.estimate.times import preparing_sentence, reading_sentence, tables_to_prepare
from pipeline.estimate.write import estimate
from pipeline.features.selection import select_features
from pipeline.lake import Lake
from pipeline.lake.remaking import remaking_sentence
from pipeline.preflight import look
from pipeline.show.terminal import plain_console
from pipeline.tables import TABLES
from pipeline.tables.inputs import inputs_of


def print_estimates(path: str) -> None:
    """Estimate the experiment of the config at `path`."""
    console = plain_console()
    lake = look(load_config(path))
    check_first_texts(lake)
    for words in filter(None, (remaking_sentence(lake), *_times(lake))):
        console.print(words, soft_wrap=True)
    rows = pl.concat([_print_sae(lake, sae, console) for sae in lake.config.sae_names])
    short = shortfall_sentence(lake.config, to_send(rows))
    for words in filter(None, (budget_sentence(lake.config), short, oracle_sentence(lake.config))):
        console.print(words, soft_wrap=True)


def _times(lake: Lake) -> Iterator[str]:
    """How long reading, caching and preparing take, as far as they are left to do."""
    if not lake.has("documents"):
        yield reading_sentence(lake)
    cost = caching_cost(lake)
    if cost:
        yield cost.sentence()
    missing = tables_to_prepare(lake)
    if missing and not (cost and cost.n_tokens is None):
        yield preparing_sentence(lake, missing, round((cost.n_tokens or 0) * cost.firings_a_token) if cost else 0)


def _is_prepared(lake: Lake, sae: str) -> bool:
    return all(lake.is_complete(name, sae) for name in inputs_of(lake.config, "estimate"))


def _print_bounds(lake: Lake, sae: str, console: Console) -> None:
    """Print the most that a run asks about an SAE that is not prepared."""
    n_features = sum(most_features(lake.config, sae))
    bounds, others = bounds_of(lake, sae)
    said = f"{sae}: not prepared yet. A run explains at most {n_features:,} of its features"
    if not bounds and not others:
        console.print(f"{said} and asks no language model.", soft_wrap=True)
        return
    console.print(f"{said} and asks at most:", soft_wrap=True)
    if bounds:
        console.print(bounds_table(bounds))
    if others:
        console.print(f"Not counted before it is prepared: {', '.join(others)}.", soft_wrap=True)
    console.print(
        "A run with budget: {max_requests: 0} makes all that needs no LLM; then this command counts the requests.",
        soft_wrap=True,
    )


def _print_sae(lake: Lake, sae: str, console: Console) -> pl.DataFrame:
    """Print the estimate of an SAE, or a bound if it is not prepared; the rows of the estimate."""
    if not _is_prepared(lake, sae):
        _print_bounds(lake, sae, console)
        return pl.DataFrame(TABLES["estimate"].schema.empty_table())
    rows, selected = pl.DataFrame(estimate(lake, sae)), select_features(lake, sae)
    if selected.num_rows:
        print_estimate(rows, lake.query("llm_features", sae=sae).item(), console)
        console.print()
    beyond = beyond_run_note(lake, sae, selected)
    own = selection_notes(lake, sae, selected)
    for note in (*own, *([beyond] if beyond else ()), *_notes(rows, lake.config.scoring.scorers)):
        console.print(note, soft_wrap=True)
    return rows


def _notes(rows: pl.DataFrame, scorers: Sequence[str]) -> list[str]:
    """Notes on the figures. Requests whose purpose is not a scorer are an explainer's."""
    notes = [
        f"{', '.join(purposes)}: {model}, tokens counted with {by}."
        for model, by, purposes in rows.filter(
            (pl.col("requests") + pl.col("known_requests") + pl.col("subject_tokens")) > 0
        )
        .group_by("model", "tokens_by", maintain_order=True)
        .agg(pl.col("purpose").unique(maintain_order=True))
        .iter_rows()
    ]
    unknown = rows.filter(~pl.col("purpose").is_in(scorers))["requests"].sum()
    if unknown:
        notes.append(
            f"Scoring prompts are counted with a stand-in of about 30 tokens for each explanation not known yet "
            f"({unknown:,}), as if all of them were usable and scored."
        )
    if waits := waits_sentence(rows):
        notes.append(f"{waits[0].upper()}{waits[1:]}.")
    unpriced = rows.filter(pl.col("cost_usd").is_null())["model"].unique().sort().to_list()
    if unpriced:
        notes.append(f"No price is known for {', '.join(unpriced)}; add one to the file that budget.prices names.")
    return notes
