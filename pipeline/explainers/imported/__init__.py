"""Explanations that others gave, scored as ours are: each row of a file is checked, and the rest goes in.

`pipeline/features/lists.py` says which files are read. The first explanation of a feature counts.
"""

import logging
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from pipeline.asking.roles import RoleName
from pipeline.asking.tools import Tools
from pipeline.asking.windows import visible
from pipeline.config import Config, SaeConfig, settings_of
from pipeline.errors import ConfigError
from pipeline.explainers.base import Explanation, Feature
from pipeline.explainers.imported.settings import Settings
from pipeline.features.lists import find_saes, read_entries, whole

_KEY = "explaining.imported.path"
_SHOWN_ROWS = 10
_LONGEST = 5000
"""Characters: what is longer is no explanation, and would be paid for with every question about it."""

_log = logging.getLogger(__name__)


class _Import(NamedTuple):
    """What a file holds.

    Attributes:
        words: Explanations by SAE and feature.
        odd_rows: Each row that is left out, with the reason.
    """

    words: dict[tuple[str, int], str]
    odd_rows: list[str]


class Imported:
    """Explains the features that the file explains."""

    name = "imported"
    role: RoleName | None = None

    def explain(self, features: Sequence[Feature], tools: Tools) -> Iterator[Explanation]:
        """The file's words for these features."""
        words = _read(tools.config).words
        for each in features:
            if said := words.get((tools.batch.sae, each.feature)):
                yield Explanation(each.feature, said)


explainer = Imported()


def check(config: Config) -> None:
    """Say which rows are left out, and why. Raises ConfigError if the file is not there, or no row is left."""
    words, odd_rows = _read(config)
    said = f"{', '.join(odd_rows[:_SHOWN_ROWS])}{' …' if len(odd_rows) > _SHOWN_ROWS else ''}"
    if not words:
        raise ConfigError(f"{_KEY}: '{_path(config)}' explains no feature of the SAEs: {said or 'it is empty'}")
    if odd_rows:
        _log.warning("%s: %s of '%s' left out: %s", _KEY, f"{len(odd_rows):,} rows", _path(config), said)


def _read(config: Config) -> _Import:
    return _read_content(_path(config), _settings(config).content, config.saes)


@lru_cache(1)
def _read_content(path: Path, content: str | None, saes: tuple[SaeConfig, ...]) -> _Import:
    """What a file of that content says of some SAEs; read once for all batches."""
    words: dict[tuple[str, int], str] = {}
    odd_rows = []
    for entry in read_entries(path, _KEY):
        feature = whole(entry.feature)
        meant = find_saes(saes, entry)
        known = [sae.name for sae in meant if feature is not None and 0 <= feature < sae.n_features]
        text = visible(" ".join((entry.words or "").split()))
        if entry.fault:
            odd_rows.append(f"{entry.place} ({entry.fault})")
        elif not entry.names:
            odd_rows.append(f"{entry.place} (names no SAE)")
        elif not meant:
            odd_rows.append(f"{entry.place} (no SAE is called {' or '.join(entry.names)})")
        elif entry.feature in (None, ""):
            odd_rows.append(f"{entry.place} (names no feature)")
        elif not known or feature is None:
            odd_rows.append(f"{entry.place} (no feature {entry.feature})")
        elif not text:
            odd_rows.append(f"{entry.place} (no words)")
        elif len(text) > _LONGEST:
            odd_rows.append(f"{entry.place} ({len(text):,} characters, over {_LONGEST:,})")
        else:
            new = [name for name in known if (name, feature) not in words]
            words.update({(name, feature): text for name in new})
            if not new:
                odd_rows.append(f"{entry.place} (feature {feature} again)")
    return _Import(words, odd_rows)


def _path(config: Config) -> Path:
    path = _settings(config).path
    if path is None:
        raise ConfigError(f"explainer 'imported' needs {_KEY}, the file with the explanations")
    return Path(path).expanduser()


def _settings(config: Config) -> Settings:
    return settings_of(config.explaining, "imported", Settings)
