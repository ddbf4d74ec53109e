"""The run: where the features went, how well explanations predict, what it cost and what is left to do."""

from typing import Any

from pipeline.explore.catalog import Catalog, Row

_PER = 1_000_000


def run_page(catalog: Catalog) -> dict[str, Any]:
    """What the run's template shows; its rows are held for a while, as some read the whole lake."""
    costs = catalog.held("request_costs")
    unfinished = catalog.held("unfinished_batches")
    return {
        "saes": [_of_sae(catalog, row, costs, unfinished) for row in catalog.held("explained_counts")],
        "explainers": catalog.config.explaining.explainers,
        "budget": catalog.config.budget,
        "batches_per_run": catalog.config.selection.batches_per_run,
    }


def _of_sae(catalog: Catalog, row: Row, costs: list[Row], unfinished: list[Row]) -> dict[str, Any]:
    sae = row["sae"]
    own = [each | {"usd_a_million": _a_million(each)} for each in costs if each["sae"] == sae]
    batches = [each for each in unfinished if each["sae"] == sae]
    funnel = catalog.held("report_funnel", sae=sae)
    return {
        "row": row,
        "funnel": funnel,
        "asked_share": sum(each["share"] for each in funnel if each["route"] == "llm"),
        "fits": catalog.held("sae_fits", sae=sae),
        "densities": catalog.held("density_histogram", sae=sae),
        "summary": catalog.held("report_summary", sae=sae),
        "control_verdicts": catalog.held("control_verdicts", sae=sae),
        "agreements": catalog.held("agreements_of_scorers", sae=sae),
        "statuses": catalog.held("report_statuses", sae=sae),
        "failures": catalog.held("report_failures", sae=sae),
        "costs": own,
        "total_usd": sum(each["cost_usd"] for each in own),
        "usd_a_million": sum(each["usd_a_million"] for each in own),
        "is_priced": any(each["is_priced"] for each in own),
        "unfinished": batches,
        "n_unfinished": sum(each["n_features"] for each in batches),
    }


def _a_million(cost: Row) -> float:
    """What such requests would cost for a million features, as they did for those that were asked about."""
    return float(cost["cost_usd"] / cost["n_features"] * _PER) if cost["n_features"] else 0.0
