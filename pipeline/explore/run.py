"""The run: where the features went, how well explanations predict, what it cost and what is left to do."""

from collections.abc import Iterable
from typing import Any

from pipeline.explore.catalog import Catalog, Row


def run_page(catalog: Catalog) -> dict[str, Any]:
    """What the run's template shows; rows are cached for a while, as some queries read the whole lake."""
    of_all = {name: catalog.held(name) for name in ("request_costs", "lifetime_costs", "unfinished_batches")}
    return {
        "saes": [_of_sae(catalog, row, of_all) for row in catalog.held("explained_counts")],
        "explainers": catalog.config.explaining.explainers,
        "batches_per_run": catalog.config.selection.batches_per_run,
    }


def _of_sae(catalog: Catalog, row: Row, of_all: dict[str, list[Row]]) -> dict[str, Any]:
    sae = row["sae"]
    own = {name: [each for each in rows if each["sae"] == sae] for name, rows in of_all.items()}
    costs, batches = own["request_costs"], own["unfinished_batches"]
    funnel = catalog.held("closing_funnel", sae=sae)
    return {
        "row": row,
        "funnel": funnel,
        "asked_share": sum(each["share"] for each in funnel if each["route"] == "llm"),
        "fits": catalog.held("sae_fits", sae=sae),
        "densities": catalog.held("density_histogram", sae=sae),
        "summary": catalog.held("closing_summary", sae=sae),
        "control_verdicts": catalog.held("control_verdicts", sae=sae),
        "agreements": catalog.held("agreements_of_scorers", sae=sae),
        "statuses": catalog.held("closing_statuses", sae=sae),
        "failures": catalog.held("closing_failures", sae=sae),
        "costs": costs,
        "n_requests": sum(each["n_requests"] for each in costs),
        "cost_usd": _sum(each["cost_usd"] for each in costs),
        "usd_a_million": _sum(each["usd_a_million"] for each in costs),
        "spent": next(iter(own["lifetime_costs"]), None),
        "unfinished": batches,
        "n_unfinished": sum(each["n_features"] for each in batches),
    }


def _sum(prices: Iterable[float | None]) -> float | None:
    """The sum of prices; None if one is not known."""
    known = list(prices)
    return None if None in known else sum(price for price in known if price is not None)
