"""An experiment's prices and budget, from its config."""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from pipeline.asking.roles import ModelRole, role_of, roles_of
from pipeline.config import Config
from pipeline.lake import LEDGER_FOLDER
from pipeline.lake.objects import open_objects
from pipeline.llm.ledger.budget import Budget, Limits, asked_as, is_spent, unpriced
from pipeline.llm.ledger.prices import FREE, Prices, load_prices
from pipeline.llm.ledger.spent import Amount, Spent, sum_of
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
    return _Purse(config, of_oracle=role.is_oracle).open(prices, in_batch=_is_in_batch(role))


class _Purse(NamedTuple):
    """What a lake's models may spend, or what its oracle may."""

    config: Config
    of_oracle: bool

    @property
    def name(self) -> str:
        """The folder of its reservations in the lake."""
        return f"budget/{'oracle' if self.of_oracle else 'models'}"

    @property
    def roles(self) -> list[ModelRole]:
        """The roles that spend from it."""
        every = (role_of(self.config, name) for name in roles_of(self.config))
        return [role for role in every if role.is_oracle == self.of_oracle]

    def open(self, prices: Prices, *, in_batch: bool = False) -> Budget:
        """Its budget for requests to models with these prices."""
        ledger, folder = self.config.lake_folder / LEDGER_FOLDER, self.config.lake_folder / self.name
        spent = partial(Spent, ledger, prices_of_paid(self.config), folder, of_oracle=self.of_oracle)
        budget = partial(Budget, limits=limits_of(self.config), prices=prices, in_batch=in_batch)
        if (objects := open_objects(self.config)) is None:
            return budget(spent(), note=(folder / _WANTED).write_bytes)
        look = partial(objects.journals.fetch, ledger, _LOOK_SECONDS)
        return budget(spent(look=look), note=partial(objects.put, f"{self.name}/{_WANTED}"))

    def spent(self) -> Amount:
        """The sum of the ledger, over all of its roles."""
        if (objects := open_objects(self.config)) is not None:
            objects.journals.fetch(self.config.lake_folder / LEDGER_FOLDER)
        with self.open(prices_of_paid(self.config)) as budget:
            return budget.spent()

    def wanted(self) -> bytes:
        """What was noted; nothing if no run stopped for want of budget."""
        name = f"{self.name}/{_WANTED}"
        if (objects := open_objects(self.config)) is not None:
            return objects.get(name)
        path = self.config.lake_folder / name
        return path.read_bytes() if path.exists() else b""

    def sentence(self, spent: Amount) -> str:
        """What was spent of what may be."""
        limits, figures = limits_of(self.config), []
        if limits.requests is not None:
            figures.append(f"{spent.requests:,} of {limits.requests:,} requests are spent (budget.max_requests)")
        if limits.usd is not None:
            figures.append(f"{spent.usd:,.4f} of {limits.usd:,.4g} USD are spent (budget.max_usd)")
        return f"Budget{' of the rehearsal' if self.of_oracle else ''}: {' and '.join(figures)}."


def _purses(config: Config) -> list[_Purse]:
    """Those that have a role, of an experiment with a limit."""
    purses = [_Purse(config, of_oracle) for of_oracle in (False, True)] if limits_of(config) != Limits() else []
    return [purse for purse in purses if purse.roles]


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
    for purse in _purses(config):
        if not (noted := purse.wanted()):
            continue
        spent = purse.spent()
        asked = {
            asked_as(role.model, prices_of(role), in_batch=_is_in_batch(role))
            for role in purse.roles
            if not role.is_free
        }
        if is_spent(noted, spent, limits_of(config), asked):
            return (
                f"{purse.sentence(spent)} The next request does not fit. What is done is kept: raise the budget "
                "in the config and run again to go on."
            )
    return None


def budget_sentence(config: Config) -> str:
    """What was spent of what may be, in words. Raises ConfigError if the price file cannot be read."""
    if limits_of(config) == Limits():
        return "Budget: no limit is set (budget.max_usd, budget.max_requests)."
    return " ".join(purse.sentence(purse.spent()) for purse in _purses(config))


def shortfall_sentence(config: Config, to_send: Mapping[str, Amount]) -> str | None:
    """A sentence that what is to be sent, by model, is more than is left of the budget; None if it fits."""
    limits = limits_of(config)
    for purse in _purses(config):
        amount = sum_of(to_send.get(model, Amount()) for model in {role.model for role in purse.roles})
        total = purse.spent().plus(amount)
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
