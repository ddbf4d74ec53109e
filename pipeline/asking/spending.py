"""What an experiment pays: the prices of its models, and its budget, as the config says."""

from pathlib import Path
from typing import Literal

from pipeline.config import Config, EndpointConfig
from pipeline.lake import LEDGER_FOLDER
from pipeline.llm.ledger.budget import Budget, Limits, is_spent, unpriced
from pipeline.llm.ledger.prices import FREE, Prices, load_prices
from pipeline.shipped import find

Asset = Literal["explanations", "predictions"]
"""The tables whose stages ask an LLM."""

ASKING: tuple[Asset, ...] = ("explanations", "predictions")

BUDGET_FOLDER = "budget"


def model_of(config: Config, asset: Asset) -> str:
    """The model that a stage asks."""
    return config.explaining.model if asset == "explanations" else config.scoring.model


def is_local(config: Config, asset: Asset) -> bool:
    """Whether a stage's model runs in this process, which costs nothing."""
    return (config.explaining if asset == "explanations" else config.scoring).provider == "local"


def endpoint_of(config: Config, asset: Asset) -> EndpointConfig:
    """Where a stage's model is reached, if it is not local."""
    return config.endpoints.explainer if asset == "explanations" else config.endpoints.scorer


def prices_of(config: Config, asset: Asset) -> Prices:
    """The prices of what a stage asks. Raises ConfigError if the price file cannot be read."""
    if is_local(config, asset):
        return Prices({model_of(config, asset): FREE})
    return load_prices(find(config.budget.prices))


def open_budget(config: Config, asset: Asset) -> Budget:
    """The experiment's budget for a stage's requests, to be used as a context manager.

    Raises ConfigError if a limit in USD is set and the stage's model has no price.
    """
    prices, limits = prices_of(config, asset), limits_of(config)
    if limits.usd is not None and prices.of(model_of(config, asset)) is None:
        raise unpriced(model_of(config, asset))
    return Budget(_folder(config), config.lake_folder / LEDGER_FOLDER, limits, prices)


def check_prices(config: Config) -> None:
    """Raise ConfigError if the price file cannot be read, or lacks a price that the budget needs."""
    for asset in ASKING:
        open_budget(config, asset)


def limits_of(config: Config) -> Limits:
    """The config's limits."""
    return Limits(config.budget.max_requests, config.budget.max_usd)


def spent_budget(config: Config) -> str | None:
    """A sentence that the budget is spent and what to raise; None while a run could go on."""
    if not is_spent(_folder(config), limits_of(config)):
        return None
    return (
        f"{budget_sentence(config)} The next request does not fit. What is done is kept: raise the budget in the "
        "config and run again to go on."
    )


def budget_sentence(config: Config) -> str:
    """What was spent of what may be, in words. Raises ConfigError if the price file cannot be read."""
    limits = limits_of(config)
    if limits == Limits():
        return "Budget: no limit is set (budget.max_usd, budget.max_requests)."
    with open_budget(config, "predictions") as budget:
        spent = budget.spent()
    figures = []
    if limits.requests is not None:
        figures.append(f"{spent.requests:,} of {limits.requests:,} requests are spent (budget.max_requests)")
    if limits.usd is not None:
        figures.append(f"{spent.usd:,.4f} of {limits.usd:,.4g} USD are spent (budget.max_usd)")
    return f"Budget: {' and '.join(figures)}."


def _folder(config: Config) -> Path:
    return config.lake_folder / BUDGET_FOLDER
