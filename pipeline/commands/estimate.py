"""`make estimate`: disk and time for caching, and what a run would send, before anything is sent or recorded."""

from collections.abc import Sequence

import polars as pl
from rich.console import Console

from pipeline.asking.roles import oracle_sentence
from pipeline.asking.spending import budget_sentence
from pipeline.config import load_config
from pipeline.corpus.slots import check_first_texts
from pipeline.estimate import estimate
from pipeline.estimate.caching import caching_cost
from pipeline.estimate.printing import print_estimate, waits_sentence
from pipeline.estimate.selection import beyond_run_note, selection_notes
from pipeline.features.selection import select_features
from pipeline.lake import Lake
from pipeline.preflight import look
from pipeline.tables.versions import inputs_of


def print_estimates(path: str) -> None:
    """Estimate the experiment of the config at `path`."""
    console = Console()
    lake = look(load_config(path))
    check_first_texts(lake)
    cost = caching_cost(lake)
    if cost:
        console.print(cost.sentence(), markup=False, highlight=False, soft_wrap=True)
    for sae in lake.config.sae_names:
        _print_sae(lake, sae, console)
    for words in filter(None, (budget_sentence(lake.config), oracle_sentence(lake.config))):
        console.print(words, markup=False, highlight=False, soft_wrap=True)


def _print_sae(lake: Lake, sae: str, console: Console) -> None:
    if not all(lake.is_complete(name, sae) for name in inputs_of(lake.config, "estimate")):
        console.print(
            f"{sae}: not prepared yet, so it is not known which features need an LLM and how many requests. A run "
            "with budget: {max_requests: 0} makes all that needs no LLM; then this command counts the requests.",
            highlight=False,
            soft_wrap=True,
        )
        return
    rows, selected = pl.DataFrame(estimate(lake, sae)), select_features(lake, sae)
    if selected.num_rows:
        print_estimate(rows, lake.query("llm_features", sae=sae).item(), console)
        console.print()
    beyond = beyond_run_note(lake, sae, selected)
    own = selection_notes(lake, sae, selected)
    for note in (*own, *([beyond] if beyond else ()), *_notes(rows, lake.config.scoring.scorers)):
        console.print(note, markup=False, highlight=False, soft_wrap=True)


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
