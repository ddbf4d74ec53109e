"""An experiment's prices and budget, from its config."""

from collections.abc import Mapping
from functools import partial

from pipeline.asking.roles import ModelRole, role_of, roles_of
from pipeline.config import Config
from pipeline.lake import LEDGER_FOLDER
from pipeline.lake.objects import open_objects
from pipeline.llm.ledger.budget import Budget, Limits, asked_as, is_spent, unpriced
from pipeline.llm.ledger.prices import FREE, Prices, load_prices
from pipeline.llm.ledger.spent import Amount, sum_of
from pipeline.shipped import find

_WANTED = "wanted.json"
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
    prices = prices_of(role)
    if config.budget.max_usd is not None and prices.of(role.model) is None:
        raise unpriced(role.model)
    return _budget(config, prices, of_oracle=role.is_oracle, in_batch=_is_in_batch(role))


def _budget(config: Config, prices: Prices, *, of_oracle: bool, in_batch: bool = False) -> Budget:
    """The budget for an oracle's requests, or for those of models."""
    name, ledger = _folder(of_oracle=of_oracle), config.lake_folder / LEDGER_FOLDER
    folder, limits, paid = config.lake_folder / name, limits_of(config), prices_of_paid(config)
    budget = partial(Budget, folder, ledger, limits, prices, paid, in_batch=in_batch, of_oracle=of_oracle)
    if (objects := open_objects(config)) is None:
        return budget(note=(folder / _WANTED).write_bytes)
    look = partial(objects.journals.fetch, ledger, _LOOK_SECONDS)
    return budget(look=look, note=partial(objects.put, f"{name}/{_WANTED}"))


def _folder(*, of_oracle: bool) -> str:
    """The folder, in a lake, of the reservations for an oracle's requests or for those of models."""
    return f"budget/{'oracle' if of_oracle else 'models'}"


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
    for of_oracle, roles in _roles(config).items() if limits != Limits() else ():
        if not (noted := _wanted(config, of_oracle=of_oracle)):
            continue
        spent = _spent(config, of_oracle=of_oracle)
        asked = {
            asked_as(role.model, prices_of(role), in_batch=_is_in_batch(role))
            for role in roles
            if not role.is_free
        }
        if is_spent(noted, spent, limits, asked):
            return (
                f"{_sentence(limits, spent, of_oracle=of_oracle)} The next request does not fit. What is done is "
                "kept: raise the budget in the config and run again to go on."
            )
    return None


def budget_sentence(config: Config) -> str:
    """What was spent of what may be, in words. Raises ConfigError if the price file cannot be read."""
    limits = limits_of(config)
    if limits == Limits():
        return "Budget: no limit is set (budget.max_usd, budget.max_requests)."
    return " ".join(_sentence(limits, _spent(config, of_oracle=each), of_oracle=each) for each in _roles(config))


def shortfall_sentence(config: Config, to_send: Mapping[str, Amount]) -> str | None:
    """A sentence that what is to be sent, by model, is more than is left of the budget; None if it fits."""
    limits = limits_of(config)
    for of_oracle, roles in _roles(config).items() if limits != Limits() else ():
        amount = sum_of(to_send.get(model, Amount()) for model in {role.model for role in roles})
        total = _spent(config, of_oracle=of_oracle).plus(amount)
        figures = []
        if not Limits(requests=limits.requests).allow(total):
            figures.append(f"up to {amount.requests:,} requests (budget.max_requests)")
        if not Limits(usd=limits.usd).allow(total):
            figures.append(f"about {amount.usd:,.4g} USD (budget.max_usd)")
        if figures and amount != Amount():
            return (
                f"A run would send {' and '.join(figures)}, more than is left of the budget. It stops when the "
                "budget is spent and keeps what is done; raise the budget to go on."
            )
    return None


def _roles(config: Config) -> dict[bool, list[ModelRole]]:
    """The roles that models answer in, under False, and those that an oracle does, under True, where there are
    any: a budget for each."""
    roles = [role_of(config, name) for name in roles_of(config)]
    by_kind = {kind: [role for role in roles if role.is_oracle == kind] for kind in (False, True)}
    return {kind: some for kind, some in by_kind.items() if some}


def _spent(config: Config, *, of_oracle: bool) -> Amount:
    """The sum of the ledger, over all roles of models or of an oracle."""
    if (objects := open_objects(config)) is not None:
        objects.journals.fetch(config.lake_folder / LEDGER_FOLDER)
    with _budget(config, prices_of_paid(config), of_oracle=of_oracle) as budget:
        return budget.spent()


def _sentence(limits: Limits, spent: Amount, *, of_oracle: bool) -> str:
    figures = []
    if limits.requests is not None:
        figures.append(f"{spent.requests:,} of {limits.requests:,} requests are spent (budget.max_requests)")
    if limits.usd is not None:
        figures.append(f"{spent.usd:,.4f} of {limits.usd:,.4g} USD are spent (budget.max_usd)")
    return f"Budget{' of the rehearsal' if of_oracle else ''}: {' and '.join(figures)}."


def _wanted(config: Config, *, of_oracle: bool) -> bytes:
    """What was noted; nothing if no run stopped for want of budget."""
    name = f"{_folder(of_oracle=of_oracle)}/{_WANTED}"
    if (objects := open_objects(config)) is not None:
        return objects.get(name)
    path = config.lake_folder / name
    return path.read_bytes() if path.exists() else b""
