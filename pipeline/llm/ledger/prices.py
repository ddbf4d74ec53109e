"""The prices of models' tokens, read from a file that users edit.

No column of a table depends on prices except `cost_usd`, which is the price at the time of the request.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.config.yaml_text import parse_yaml
from pipeline.errors import ConfigError, nearest


class Price(BaseModel):
    """The prices of a model's tokens, in USD per million."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: float = Field(ge=0, allow_inf_nan=False)
    cached: float | None = Field(None, ge=0, allow_inf_nan=False)
    completion: float = Field(ge=0, allow_inf_nan=False)
    batch: float = Field(0.5, ge=0, le=1)
    """Price in a provider's batch, relative to these prices. Not all providers also discount cached tokens there,
    so that discount is not assumed."""

    @property
    def in_batch(self) -> "Price":
        """The prices of a provider's batch."""
        return Price(prompt=self.batch * self.prompt, completion=self.batch * self.completion)

    def usd(self, prompt_tokens: float, completion_tokens: float, cached_tokens: float = 0) -> float:
        """The price of a number of tokens; `prompt_tokens` includes the cached ones, unless these are more."""
        cached = self.prompt if self.cached is None else self.cached
        anew = max(prompt_tokens - cached_tokens, 0)
        return (anew * self.prompt + cached_tokens * cached + completion_tokens * self.completion) / 1e6


FREE = Price(prompt=0, cached=0, completion=0)


class Prices:
    """Prices by model name or pattern, in the order in which patterns are tried."""

    def __init__(self, by_name: Mapping[str, Price]) -> None:
        self._by_name = dict(by_name)

    def of(self, model: str) -> Price | None:
        """The price of a model: by its exact name, else by the first pattern that matches."""
        fitting = (price for name, price in self._by_name.items() if _fits(model, name))
        return self._by_name.get(model) or next(fitting, None)

    def digest(self) -> str:
        """A hash of all prices and the order of patterns."""
        return hashlib.sha256(repr(self._by_name).encode()).hexdigest()[:12]

    def usd(
        self,
        model: str,
        prompt_tokens: float | None,
        completion_tokens: float | None,
        cached_tokens: float | None = None,
        *,
        in_batch: bool = False,
    ) -> float | None:
        """The price of an answer, ordinary or in a batch; None if its price or a number of tokens is unknown."""
        price = self.of(model)
        if price == FREE:
            return 0.0  # for any number of tokens, known or not
        if price is None or prompt_tokens is None or completion_tokens is None:
            return None
        price = price.in_batch if in_batch else price
        return price.usd(prompt_tokens, completion_tokens, cached_tokens or 0)


def load_prices(path: Path) -> Prices:
    """Read a price file. Raises ConfigError with one sentence about the first problem."""
    try:
        values = parse_yaml(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise ConfigError(
            f"no price file '{path}'; set budget.prices to one (config/prices.yaml is one to copy)"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"price file '{path}' cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"price file '{path}' is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"price file '{path}' holds no models; copy config/prices.yaml to start from")
    return Prices({str(model): _price(path, str(model), given) for model, given in values.items()})


def _fits(model: str, pattern: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), model) is not None


def _price(path: Path, model: str, given: object) -> Price:
    try:
        return Price.model_validate(given)
    except ValidationError as error:
        problem = error.errors()[0]
    where = f"price file '{path}', model '{model}'"
    if not isinstance(given, dict):
        raise ConfigError(f"{where}: write {{prompt: …, completion: …}}, USD per million tokens")
    key = str(problem["loc"][0])
    if problem["type"] == "extra_forbidden":
        raise ConfigError(f"{where}: unknown key '{key}'; nearest known: {nearest(key, Price.model_fields)}")
    if problem["type"] == "missing":
        raise ConfigError(f"{where}: key '{key}' is missing")
    raise ConfigError(f"{where}: '{key}' must be a price in USD per million tokens, not {given[key]!r}")
