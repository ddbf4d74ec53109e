"""An experiment's prices and budget, from its config."""

from collections.abc import Callable
from functools import partial

from pipeline.asking.roles import ModelRole, role_of, roles_of
from pipeline.config import Config
from pipeline.lake import LEDGER_FOLDER
from pipeline.lake.objects import open_objects
from pipeline.llm.ledger.budget import Budget, Limits, asked_as, is_spent, unpriced
from pipeline.llm.ledger.prices import FREE, Prices, load_prices
from pipeline.llm.ledger.spent import Amount
from pipeline.shipped import find

BUDGET_FOLDER = "budget"
_WANTED = f"{BUDGET_FOLDER}/wanted.json"
"""The cheapest request that the last run could not send because the budget was spent."""

_LOOK_SECONDS = 30.0
"""How often other machines' spending is fetched if the lake is in an object store."""


def prices_of(role: ModelRole) -> Prices:
    """What a role's answers cost: a model in this process nothing, whatever the price file says of its name.

    Raises ConfigError if the price file cannot be read.
    """
    return Prices({role.model: FREE}) if role.is_free else load_prices(find(role.prices))


def prices_of_paid(config: Config) -> Prices:
    """The prices of the roles that are paid for, whichever answered. Raises as `prices_of`."""
    paid = (role for name in roles_of(config) if not (role := role_of(config, name)).is_free)
    return next(map(prices_of, paid), Prices({}))  # they share one file


def open_budget(config: Config, role: ModelRole) -> Budget:
    """The experiment's budget for a role's requests, to be used as a context manager.

    Raises ConfigError if a limit in USD is set and the role's model has no price.
    """
    prices, paid, limits = prices_of(role), prices_of_paid(config), limits_of(config)
    if limits.usd is not None and prices.of(role.model) is None:
        raise unpriced(role.model)
    in_batch = _is_in_batch(role)
    folder, ledger = config.lake_folder / BUDGET_FOLDER, config.lake_folder / LEDGER_FOLDER
    if (objects := open_objects(config)) is None:
        note: Callable[[bytes], object] = (config.lake_folder / _WANTED).write_bytes
        return Budget(folder, ledger, limits, prices, paid, in_batch=in_batch, note=note)
    look = partial(objects.fetch_lines, ledger, _LOOK_SECONDS)
    note = partial(objects.put, _WANTED)
    return Budget(folder, ledger, limits, prices, paid, in_batch=in_batch, look=look, note=note)


def _is_in_batch(role: ModelRole) -> bool:
    """Whether all that is asked in a role goes in its provider's batches, at their price."""
    return role.batches is not None and role.batches.batch_unfinished == "batch"


def check_prices(config: Config) -> None:
    """Raise ConfigError if the price file cannot be read, or lacks a price that the budget needs."""
    for name in roles_of(config):
        open_budget(config, role_of(config, name))


def limits_of(config: Config) -> Limits:
    """The config's limits."""
    return Limits(config.budget.max_requests, config.budget.max_usd)


def spent_budget(config: Config) -> str | None:
    """A sentence that the budget is spent and what to raise; None while a run could go on."""
    limits = limits_of(config)
    if limits == Limits() or not (noted := _wanted(config)):
        return None
    spent = _spent(config)
    roles = [role_of(config, name) for name in roles_of(config)]
    asked = {
        asked_as(role.model, prices_of(role), in_batch=_is_in_batch(role)) for role in roles if not role.is_free
    }
    if not is_spent(noted, spent, limits, asked):
        return None
    return (
        f"{_sentence(limits, spent)} The next request does not fit. What is done is kept: raise the budget in the "
        "config and run again to go on."
    )


def budget_sentence(config: Config) -> str:
    """What was spent of what may be, in words. Raises ConfigError if the price file cannot be read."""
    limits = limits_of(config)
    if limits == Limits():
        return "Budget: no limit is set (budget.max_usd, budget.max_requests)."
    return _sentence(limits, _spent(config))


def _spent(config: Config) -> Amount:
    """The sum of the ledger, over all roles."""
    if (objects := open_objects(config)) is not None:
        objects.fetch_lines(config.lake_folder / LEDGER_FOLDER)
    folder, ledger = config.lake_folder / BUDGET_FOLDER, config.lake_folder / LEDGER_FOLDER
    with Budget(folder, ledger, limits_of(config), prices_of_paid(config)) as budget:
        return budget.spent()


def _sentence(limits: Limits, spent: Amount) -> str:
    figures = []
    if limits.requests is not None:
        figures.append(f"{spent.requests:,} of {limits.requests:,} requests are spent (budget.max_requests)")
    if limits.usd is not None:
        figures.append(f"{spent.usd:,.4f} of {limits.usd:,.4g} USD are spent (budget.max_usd)")
    return f"Budget: {' and '.join(figures)}."


def _wanted(config: Config) -> bytes:
    """What was noted; nothing if no run stopped for want of budget."""
    if (objects := open_objects(config)) is not None:
        return objects.get(_WANTED)
    path = config.lake_folder / _WANTED
    return path.read_bytes() if path.exists() else b""
