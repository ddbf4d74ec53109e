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
from pipeline.config import Config, SaeConfig, SubjectConfig, settings_of
from pipeline.errors import ConfigError, RuleError
from pipeline.explainers.base import Explanation, Feature
from pipeline.explainers.imported.settings import Settings
from pipeline.features.lists import check_columns, read_entries, sae_finder, whole
from pipeline.rules.grammar import on_one_line, parse_rule

_KEY = "explaining.imported.path"
_SHOWN_REASONS = 10
_HOW = (
    "write a CSV, JSON or Parquet file with the columns sae or hookpoint, feature, and explanation, or give one "
    "of Neuronpedia's exports"
)
_LONGEST = 5000
"""Characters. A longer text is not an explanation, and each question about it would have to pay for it."""

_log = logging.getLogger(__name__)


class _Import(NamedTuple):
    """The content of a file.

    Attributes:
        words: Explanations by SAE and feature.
        odd_rows: Location of each row that was skipped, and the reason.
    """

    words: dict[tuple[str, int], str]
    odd_rows: list[tuple[str, str]]


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
    """Warn of skipped rows, with the reasons, and of features that a run does not score.

    Raises ConfigError if the file is missing or has no valid row.
    """
    words, odd_rows = _read(config)
    if not words:
        why = "it is empty"
        if odd_rows:
            check_columns(_path(config), _KEY, list(read_entries(_path(config), _KEY)), _HOW)
            why = _by_reason(odd_rows)
        raise ConfigError(f"{_KEY}: '{_path(config)}' explains no feature of the SAEs: {why}; {_HOW}")
    if odd_rows:
        n = "1 row" if len(odd_rows) == 1 else f"{len(odd_rows):,} rows"
        _log.warning("%s: skipped %s of '%s': %s", _KEY, n, _path(config), _by_reason(odd_rows))
    _warn_of_selection(config, len(words))


def _warn_of_selection(config: Config, n_explained: int) -> None:
    """Warn if selection takes some of the file's features alone; of the quotas of a list, its own check warns."""
    selection = config.selection
    if selection.features is not None:
        if Path(selection.features).expanduser().resolve() == _path(config).resolve():
            return
        limit = f"selection.features ('{selection.features}')"
    elif selection.quotas is not None:
        limit = f"selection.quotas ({selection.quotas_in_words})"
    else:
        return
    is_set = selection.quotas is not None and "quotas" in selection.model_fields_set
    _log.warning(
        "%s: '%s' explains %s, but %s selects which are scored; to score all of them, set selection.features to "
        "the same file%s",
        _KEY,
        _path(config),
        "1 feature" if n_explained == 1 else f"{n_explained:,} features",
        limit,
        " and selection.quotas to null" if is_set else "",
    )


def _by_reason(odd_rows: Sequence[tuple[str, str]]) -> str:
    """Rows by the reason why they were skipped: `line 2 and 9 more (no words), line 14 (no feature 64)`."""
    rows: dict[str, list[str]] = {}
    for location, reason in odd_rows:
        rows.setdefault(reason, []).append(location)
    parts = [
        f"{first}{f' and {len(others):,} more' if others else ''} ({reason})"
        for reason, (first, *others) in rows.items()
    ]
    return f"{', '.join(parts[:_SHOWN_REASONS])}{' …' if len(parts) > _SHOWN_REASONS else ''}"


def _read(config: Config) -> _Import:
    return _read_content(_path(config), _settings(config).content, config.subject, config.saes)


@lru_cache(1)
def _read_content(path: Path, content: str | None, subject: SubjectConfig, saes: tuple[SaeConfig, ...]) -> _Import:
    """The explanations in a file about some SAEs, read once for all batches; `content` is the file's hash."""
    words: dict[tuple[str, int], str] = {}
    odd_rows = []
    find_saes = sae_finder(subject, saes)
    for entry in read_entries(path, _KEY):
        feature = whole(entry.feature)
        meant = find_saes(entry)
        known = [sae.name for sae in meant if feature is not None and 0 <= feature < sae.n_features]
        text = _on_one_line(entry.words or "")
        reason = None
        if entry.fault:
            reason = entry.fault
        elif not entry.names:
            reason = "names no SAE"
        elif not meant:
            reason = f"no SAE is called {' or '.join(entry.names)}"
        elif entry.feature in (None, ""):
            reason = "names no feature"
        elif not known or feature is None:
            reason = f"no feature {entry.feature}"
        elif not text:
            reason = "no words"
        elif len(text) > _LONGEST:
            reason = f"{len(text):,} characters, over {_LONGEST:,}"
        elif new := [name for name in known if (name, feature) not in words]:
            words.update({(name, feature): text for name in new})
        else:
            reason = f"feature {feature} again"
        if reason is not None:
            odd_rows.append((entry.location, reason))
    return _Import(words, odd_rows)


def _on_one_line(words: str) -> str:
    """Words without line ends or repeated spaces; those in a rule's tokens stay."""
    try:
        parse_rule(words)
    except RuleError:
        return visible(" ".join(words.split()))
    return on_one_line(words)


def _path(config: Config) -> Path:
    path = _settings(config).path
    if path is None:
        raise ConfigError(f"explainer 'imported' needs {_KEY}, the file with the explanations")
    return Path(path).expanduser()


def _settings(config: Config) -> Settings:
    return settings_of(config.explaining, "imported", Settings)
