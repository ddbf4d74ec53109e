"""Explanations from elsewhere, scored like the others: the valid rows of a file, after a check of each.

`pipeline/features/lists.py` describes the file formats. The first explanation of a feature counts.
"""

import logging
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from pipeline.asking.roles import RoleKind
from pipeline.asking.tools import Tools
from pipeline.asking.windows import visible
from pipeline.config import Config, SaeConfig, settings_of
from pipeline.errors import ConfigError, RuleError
from pipeline.explainers.base import Explanation, Feature
from pipeline.explainers.imported.settings import Settings
from pipeline.features.lists import find_saes, read_entries, whole
from pipeline.rules.grammar import parse_rule

_KEY = "explaining.imported.path"
_SHOWN_ROWS = 10
_LONGEST = 5000
"""Characters. A longer text is not an explanation, and each question about it would have to pay for it."""

_log = logging.getLogger(__name__)


class _Import(NamedTuple):
    """The content of a file.

    Attributes:
        words: Explanations by SAE and feature.
        odd_rows: Each row that was skipped, with the reason.
    """

    words: dict[tuple[str, int], str]
    odd_rows: list[str]


class Imported:
    """Covers the features in the file."""

    name = "imported"
    role: RoleKind | None = None

    def explain(self, features: Sequence[Feature], tools: Tools) -> Iterator[Explanation]:
        """The file's explanations of these features."""
        words = known_explanations(tools.config, tools.batch.sae)
        return (Explanation(each.feature, words[each.feature]) for each in features if each.feature in words)


explainer = Imported()


def known_explanations(config: Config, sae: str) -> dict[int, str]:
    """The file's explanations of an SAE's features, by feature; those that are rules are proved as such."""
    return {feature: text for (name, feature), text in _read(config).words.items() if name == sae}


def check(config: Config) -> None:
    """Warn of skipped rows, with the reasons, and of quotas, which select some of its features alone.

    Raises ConfigError if the file is missing or has no valid row.
    """
    words, odd_rows = _read(config)
    listed = f"{', '.join(odd_rows[:_SHOWN_ROWS])}{' …' if len(odd_rows) > _SHOWN_ROWS else ''}"
    if not words:
        raise ConfigError(f"{_KEY}: '{_path(config)}' explains no feature of the SAEs: {listed or 'it is empty'}")
    if odd_rows:
        n = "1 row" if len(odd_rows) == 1 else f"{len(odd_rows):,} rows"
        _log.warning("%s: skipped %s of '%s': %s", _KEY, n, _path(config), listed)
    if quotas := config.selection.quotas_in_words:
        _log.warning(
            "%s: '%s' explains %s features, but selection.quotas (%s) selects which are scored; to score all of "
            "them, set selection.features to the same file and selection.quotas to null",
            _KEY,
            _path(config),
            f"{len(words):,}",
            quotas,
        )


def _read(config: Config) -> _Import:
    return _read_content(_path(config), _settings(config).content, config.saes)


@lru_cache(1)
def _read_content(path: Path, content: str | None, saes: tuple[SaeConfig, ...]) -> _Import:
    """The explanations in a file about some SAEs, read once for all batches; `content` is the file's hash."""
    words: dict[tuple[str, int], str] = {}
    odd_rows = []
    for entry in read_entries(path, _KEY):
        feature = whole(entry.feature)
        meant = find_saes(saes, entry)
        known = [sae.name for sae in meant if feature is not None and 0 <= feature < sae.n_features]
        text = _on_one_line(entry.words or "")
        if entry.fault:
            odd_rows.append(f"{entry.location} ({entry.fault})")
        elif not entry.names:
            odd_rows.append(f"{entry.location} (names no SAE)")
        elif not meant:
            odd_rows.append(f"{entry.location} (no SAE is called {' or '.join(entry.names)})")
        elif entry.feature in (None, ""):
            odd_rows.append(f"{entry.location} (names no feature)")
        elif not known or feature is None:
            odd_rows.append(f"{entry.location} (no feature {entry.feature})")
        elif not text:
            odd_rows.append(f"{entry.location} (no words)")
        elif len(text) > _LONGEST:
            odd_rows.append(f"{entry.location} ({len(text):,} characters, over {_LONGEST:,})")
        else:
            new = [name for name in known if (name, feature) not in words]
            words.update({(name, feature): text for name in new})
            if not new:
                odd_rows.append(f"{entry.location} (feature {feature} again)")
    return _Import(words, odd_rows)


def _on_one_line(words: str) -> str:
    """Words without line ends or repeated spaces; those of a rule stay, as its tokens may hold them."""
    try:
        parse_rule(words)
    except RuleError:
        words = " ".join(words.split())
    return visible(words.strip())


def _path(config: Config) -> Path:
    path = _settings(config).path
    if path is None:
        raise ConfigError(f"explainer 'imported' needs {_KEY}, the file with the explanations")
    return Path(path).expanduser()


def _settings(config: Config) -> Settings:
    return settings_of(config.explaining, "imported", Settings)
