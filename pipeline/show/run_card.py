"""The run card: what made these numbers, to share with them and to cite.

It names the model, SAEs, corpus, settings, prompts and versions behind a lake's tables, with hashes that identify
them, the requests that were sent for the tables, and what was spent in the lake's lifetime. Of this machine's
paths only the last part is kept.
"""

import hashlib
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.asking.roles import oracle_sentence
from pipeline.fit.verdict import misfits_in
from pipeline.lake import Lake
from pipeline.show.terminal import printable
from pipeline.tables import TABLES
from pipeline.tables.definitions import plugin_versions

_CARD_FILES = "run_card.json", "run_card.md"
_PACKAGES = ("latentlake", "duckdb", "numba", "numpy", "polars", "pyarrow", "scipy", "torch", "transformers")
_NOT_SCIENCE = frozenset({"machine", "endpoints", "budget", "report"})


def write_run_card(lake: Lake, folder: Path) -> dict[str, Any]:
    """Write the card into a folder, as JSON and as Markdown, and return it."""
    card = run_card(lake)
    (folder / _CARD_FILES[0]).write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / _CARD_FILES[1]).write_text(card_markdown(card), encoding="utf-8")
    return card


def run_card(lake: Lake) -> dict[str, Any]:
    """The card, as values that JSON can hold."""
    config = _public(lake.config.model_dump(mode="json", exclude=set(_NOT_SCIENCE)))
    asked, spent = lake.query("method_costs"), lake.query("lifetime_costs")
    misfits = {sae: printable(sentence) for sae, sentence in misfits_in(lake).items()}
    card = {
        "experiment": lake.config.name,
        "caution": oracle_sentence(lake.config),
        "config_sha256": _digest(config),
        "tables": _table_versions(lake),
        "subject": {"model": config["subject"]["model"], "revision": config["subject"]["revision"],
                    "dtype": config["subject"]["dtype"]},
        "saes": [
            {**_public(row), "misfit": misfits.get(row["sae"])} for row in lake.query("card_saes").to_dicts()
        ],
        "corpus": {"sha256": lake.hashes.corpus, "documents": lake.query("card_documents").to_dicts()},
        "explanations": lake.query("card_explanations").to_dicts(),
        "asked": asked.to_dicts(),
        "cost_usd": _sum(asked["cost_usd"]),
        "spent": {"requests": spent["n_requests"].sum(), "cost_usd": _sum(spent["cost_usd"])},
        "prompts": {
            "explainers": plugin_versions(lake.config, "explainers"),
            "scorers": plugin_versions(lake.config, "scorers"),
        },
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        "config": config,
    }  # fmt: skip
    return {"cite": _citation(card), **card}


def card_markdown(card: dict[str, Any]) -> str:
    """The card as Markdown for people; the full config is in the JSON only."""
    subject, corpus = card["subject"], card["corpus"]
    lines = [
        f"# Run card: {card['experiment']}",
        "",
        card["cite"],
        "",
        *(line for each in _cautions(card) for line in (f"**{each}**", "")),
        "## What was read",
        "",
        f"- Subject model: {subject['model']}, revision {subject['revision'] or 'none named'}, {subject['dtype']}",
        *(_sae_line(sae) for sae in card["saes"]),
        f"- Corpus: sha256 `{corpus['sha256']}`; "
        + ", ".join(f"{row['n_documents']:,} {row['role']} documents ({row['n_tokens']:,} tokens)"
                    for row in corpus["documents"]),
        "",
        "## What was made",
        "",
        "| SAE | explainer | status | explanations |",
        "|---|---|---|--:|",
        *(
            f"| {row['sae']} | {row['explainer']}{' (control)' if row['is_control'] else ''} | {row['status']} "
            f"| {row['n_explanations']:,} |"
            for row in card["explanations"]
        ),
        "",
        "## What was asked",
        "",
        *_asked_lines(card),
        "",
        "## Versions",
        "",
        "- " + ", ".join(f"{name} {number}" for name, number in card["versions"].items() if number),
        f"- Config: sha256 `{card['config_sha256']}` (its JSON is in {_CARD_FILES[0]})",
        *(
            f"- {kind[:-1].capitalize()} `{name}`: code, prompts and settings sha256 `{digest}`"
            for kind in ("explainers", "scorers")
            for name, digest in card["prompts"][kind].items()
        ),
        "",
        "| table | version |",
        "|---|---|",
        *(f"| {name} | `{digest}` |" for name, digest in card["tables"].items()),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _cautions(card: dict[str, Any]) -> list[str]:
    """What a reader has to know first: that no model was asked, and SAEs that do not fit."""
    return [each for each in (card["caution"], *(sae["misfit"] for sae in card["saes"])) if each]


def _sae_line(sae: dict[str, Any]) -> str:
    fit = "" if sae["fvu"] is None else f"; FVU {sae['fvu']:.3f}, L0 {sae['l0']:.1f}"
    if sae["loss_recovered"] is not None:
        fit += f", {sae['loss_recovered']:.1%} of the loss recovered"
    return (
        f"- SAE {sae['sae']}: {sae['architecture']}, {sae['n_features']:,} features at {sae['hookpoint']}{fit}; "
        f"from {sae['source']}, files sha256 `{sae['weights_hash']}`"
    )


def _sum(prices: pl.Series) -> float | None:
    """The sum of prices; None if one is not known."""
    return None if prices.null_count() else float(prices.sum())


def _asked_lines(card: dict[str, Any]) -> list[str]:
    """The requests behind the tables, and what was spent in the lake's lifetime."""
    spent, cost = card["spent"], card["spent"]["cost_usd"]
    in_all = [] if not spent["requests"] else [
        "",
        f"In the lake's lifetime {spent['requests']:,} requests were answered, "
        + ("at prices of which some are not known" if cost is None else f"for {cost:.4f} USD")
        + ": those above, and others for earlier prompts, models and selections, for pilots, or sent again.",
    ]  # fmt: skip
    if not card["asked"]:
        return ["No model was asked for the contents of the tables.", *in_all]
    lines = ["| purpose | model | requests | features | prompt tokens | answer tokens | seconds | USD |"]
    lines.append("|---|---|--:|--:|--:|--:|--:|--:|")
    for row in card["asked"]:
        price = "no price known" if row["cost_usd"] is None else f"{row['cost_usd']:.4f}"
        names = ("n_requests", "n_features", "prompt_tokens", "completion_tokens", "seconds")
        figures = [row[name] for name in names]
        cells = ("" if figure is None else f"{figure:,.0f}" for figure in figures)
        lines.append(f"| {' | '.join([row['purpose'], row['model'], *cells, price])} |")
    return [*lines, *in_all]


def _citation(card: dict[str, Any]) -> str:
    saes = "SAEs " if len(card["saes"]) > 1 else "SAE "
    saes += ", ".join(f"{sae['sae']} ({(sae['weights_hash'] or '')[:12]})" for sae in card["saes"])
    named = f"experiment '{card['experiment']}' (config {card['config_sha256'][:12]})"
    read = f"{card['subject']['model']}, {saes}, corpus {card['corpus']['sha256'][:12]}"
    return f"latentlake {card['versions']['latentlake']}, {named}: {read}."


def _table_versions(lake: Lake) -> dict[str, str]:
    """The version of every table; of each SAE's and plug-in's part, if these have versions of their own."""
    return {
        " ".join(filter(None, (name, sae, part))): lake.folder(name, sae, part).name
        for name, table in TABLES.items()
        if table.partition != "ledger"
        for sae in (lake.config.sae_names if table.is_by_sae else (None,))
        for part in lake.parts(name)
    }


def _public(value: Any) -> Any:
    """A value with this machine's paths cut to their last part."""
    match value:
        case dict():
            return {key: _public(each) for key, each in value.items()}
        case list() | tuple():
            return [_public(each) for each in value]
        case str() if Path(value).is_absolute():
            return f"…/{Path(value).name}"
        case _:
            return value


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # latentlake run from a checkout that is not installed
        return None


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
