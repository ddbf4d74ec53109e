"""Reading people's lists of features: SAE, feature, and often an explanation.

    sae or hookpoint, feature[, priority][, explanation]     CSV, TSV, JSON, JSON lines or Parquet
    modelId, layer, index[, description]                      Neuronpedia's lists and exports
    Component, Layer, Feature, Annotation                     annotations of circuits (Marks et al. 2024): the SAE
                                                              is `resid_5`; or a Name alone, `resid_5/3036`
    {"<feature>": "<explanation>", …}                         a file for each SAE, named like it
    <hookpoint>_latent<feature>.txt, a JSON string each       delphi's folder of explanations, which older versions
                                                              name `.model.<hookpoint>_feature<feature>.txt`

An SAE is identified by its name in the config, its hookpoint in any spelling that the config may use, or one of
`saes.aliases`, its names elsewhere. Files are UTF-8, or UTF-16 with its mark; they may be compressed (.gz).
"""

import csv
import gzip
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import SaeConfig, SubjectConfig
from pipeline.errors import ConfigError, SubjectError
from pipeline.subject.forward import Hookpoint
from pipeline.subject.hookpoints import find_hookpoint
from pipeline.texts.text import decoded

HOW = (
    "write a CSV, JSON or Parquet file with the columns feature, and sae or hookpoint (priority or explanation if "
    "you like), or give one of Neuronpedia's lists"
)

_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")
_WORDS = ("explanation", "description", "annotation")
_DELPHI = re.compile(r"\.?(?P<name>.+)_(?:latent|feature)(?P<feature>\d+)\.txt")
_WHOLE = re.compile(r"([+-]?\d{1,18})(\.0*)?")
_NAME = re.compile(r"(?P<name>.+)/(?P<feature>\w+)")


class Entry(NamedTuple):
    """A row of a list.

    Attributes:
        location: Where it is: `line 4`, or its file's name.
        names: Possible names of the SAE; empty if the row has none.
        by: The kind of these names.
        feature: The feature as written; None if there is none.
        priority: The batch's priority as written.
        words: The feature's explanation.
        columns: The names of the row's columns.
        fault: Why the row cannot be read; None if it can.
    """

    location: str
    names: tuple[str, ...]
    by: Literal["sae", "hookpoint"]
    feature: Any
    priority: Any
    words: str | None
    columns: tuple[str, ...]
    fault: str | None = None


class _Fault(NamedTuple):
    """An unreadable row, and the reason."""

    fault: str


def read_entries(path: Path, key: str) -> Iterator[Entry]:
    """The rows of a list, or of a folder of lists, in order; repeated header rows are left out.

    An unreadable row has a `fault`; the rows after it are read.

    Args:
        path: The file or folder.
        key: The key of the config that names it, for errors.

    Raises:
        ConfigError: It does not exist, cannot be read, or is of another kind.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if _is_list(file) or _DELPHI.fullmatch(file.name))
        if not files:
            raise ConfigError(f"{key}: no list in folder '{path}'; {HOW}")
        for file in files:
            for entry in _read_file(file, key):
                name = file.relative_to(path).as_posix()
                yield entry._replace(location=f"{name}, {entry.location}" if entry.location else name)
    elif not path.is_file():
        raise ConfigError(f"{key}: no file '{path}'")
    elif not _is_list(path):
        raise ConfigError(f"{key}: '{path}' is not a .csv, .tsv, .json, .jsonl or .parquet file; {HOW}")
    else:
        yield from _read_file(path, key)


def check_columns(path: Path, key: str, entries: Sequence[Entry], how: str) -> None:
    """Raise ConfigError, with a list's columns and `how` to write one, if no row of it names an SAE."""
    if not any(entry.names or entry.fault for entry in entries):
        columns = list(dict.fromkeys(name for entry in entries[:1000] for name in entry.columns))
        raise ConfigError(f"{key}: '{path}' has the columns {', '.join(columns) or 'none'}; {how}")


def sae_finder(subject: SubjectConfig, saes: Sequence[SaeConfig]) -> Callable[[Entry], list[SaeConfig]]:
    """A function that returns the SAEs that a row names; several for a hookpoint that they share."""

    @cache
    def resolved(hookpoint: str) -> Hookpoint | str:
        """What a hookpoint means in the subject model, however it is spelled; its name if that is not known."""
        try:
            return find_hookpoint(subject, hookpoint) or hookpoint
        except SubjectError:  # the model is not here, as when firings come from a cache
            return hookpoint

    @cache
    def called(name: str, by: Literal["sae", "hookpoint"]) -> list[SaeConfig]:
        if by == "sae":
            found = [sae for sae in saes if sae.name == name]
        else:
            found = [sae for sae in saes if sae.hookpoint == name or resolved(sae.hookpoint) == resolved(name)]
        return found or [sae for sae in saes if name in sae.aliases]

    return lambda entry: next(filter(None, (called(name, entry.by) for name in entry.names)), [])


def whole(value: Any) -> int | None:
    """An integer given as a number or text, including `3.0`; None for anything else, such as `9_123`."""
    if isinstance(value, str):
        return int(found[1]) if (found := _WHOLE.fullmatch(value.strip())) else None
    if isinstance(value, bool):
        return None
    try:
        return int(value) if int(value) == value else None
    except (TypeError, ValueError, OverflowError):
        return None


def _is_list(path: Path) -> bool:
    return path.is_file() and _kind(path) in _SUFFIXES


def _kind(path: Path) -> str:
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


def _read_file(path: Path, key: str) -> Iterator[Entry]:
    try:
        if found := _DELPHI.fullmatch(path.name):
            said = _json(path.read_bytes())
            names = tuple(dict.fromkeys((found["name"], found["name"].removeprefix("model."))))
            words, fault = (None, said.fault) if isinstance(said, _Fault) else (_text_or_none(said), None)
            yield Entry("", names, "hookpoint", found["feature"], None, words, (), fault)
            return
        for location, row in _rows(path):
            if not isinstance(row, dict):
                fault = row.fault if isinstance(row, _Fault) else "not an object"
                yield Entry(location, (), "sae", None, None, None, (), fault)
            elif any(value not in (name, "", None) for name, value in row.items()):  # no header that comes again
                yield _entry(location, row)
    except FileNotFoundError:
        raise ConfigError(f"{key}: no file '{path}'") from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{key}: '{path}' is not UTF-8 (byte {error.start} is {error.object[error.start]:#04x}); save it as "
            "UTF-8"
        ) from None
    except (OSError, ValueError, EOFError, RecursionError, csv.Error, pa.ArrowInvalid) as error:
        raise ConfigError(f"{key}: '{path}' cannot be read: {' '.join(str(error).split())}") from None


def _entry(location: str, row: dict[str, Any]) -> Entry:
    """A row by the names of its columns, whatever their case."""
    values = {name.lower(): value for name, value in row.items()}
    words = next((said for name in _WORDS if (said := _text_or_none(values.get(name)))), None)
    rest = values.get("priority"), words, tuple(row)
    sides: tuple[Literal["sae", "hookpoint"], ...] = ("sae", "hookpoint")
    for by in sides:
        if "feature" in values and values.get(by) not in (None, ""):
            return Entry(location, (str(values[by]),), by, values["feature"], *rest)
    if "index" in values and "layer" in values:
        layer, model = str(values["layer"]), values.get("modelid")
        names = (f"{model}/{layer}", layer) if model else (layer,)
        return Entry(location, names, "sae", values["index"], *rest)
    if found := _NAME.fullmatch(str(values.get("name", ""))):
        return Entry(location, (found["name"],), "sae", found["feature"], *rest)
    component, number, feature = (values.get(each) for each in ("component", "layer", "feature"))
    if component not in (None, "") and feature not in (None, ""):  # the embedding has no layer
        # With empty cells beside it, a table may hold a layer's 5 as 5.0.
        at = number if whole(number) is None else whole(number)
        name = str(component) if number in (None, "") else f"{component}_{at}"
        return Entry(location, (name,), "sae", feature, *rest)
    return Entry(location, (), "sae", None, *rest)


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Each row's location, and a dict, a fault, or a JSON value that is not an object."""
    match _kind(path):
        case ".csv" | ".tsv":
            yield from _csv_rows(_text(path))
        case ".parquet":
            yield from _numbered("row", pq.read_table(path).to_pylist())
        case _:
            yield from _json_rows(path)


def _text(path: Path) -> str:
    data = path.read_bytes()
    return decoded(gzip.decompress(data) if path.suffix.lower() == ".gz" else data)


def _csv_rows(text: str) -> Iterator[tuple[str, dict[str, Any] | _Fault]]:
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
    lowered = [name.lower() for name in reader.fieldnames]
    if twice := next((name for name in lowered if name and lowered.count(name) > 1), None):
        raise ValueError(f"the column '{twice}' is there twice")
    while True:
        first = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            is_open = "unexpected end" in str(error)
            yield f"line {first}", _Fault("a quote opens there and is not closed" if is_open else str(error))
            continue
        location = f"line {reader.line_num}"
        if any(row.pop(None, ())):  # the cells beyond the header's
            yield location, _Fault(f"more cells than columns: quote a text that holds {delimiter!r}")
        else:
            yield location, {name: value and value.strip() for name, value in row.items()}


def _json_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """A list of objects, an object a line, one object of explanations by feature, or one that is a row."""
    text = _text(path)
    if text.lstrip().startswith("["):
        yield from _numbered("row", json.loads(text))
    elif whole_file := _one_object(text):
        if _kind(path) == ".json" and any(map(str.isdecimal, whole_file)):
            sae = path.name.removeprefix(".").partition(".json")[0]
            for feature, words in whole_file.items():
                yield f"feature {feature}", {"sae": sae, "feature": feature, "explanation": words}
        else:
            yield "line 1", whole_file
    else:
        lines = enumerate(text.split("\n"), start=1)  # a JSON text may hold what else splits lines
        yield from ((f"line {number}", _json(line)) for number, line in lines if line.strip())


def _json(text: str | bytes) -> Any:
    """The value of a JSON text, or what is wrong with it."""
    try:
        return json.loads(text)
    except ValueError:
        return _Fault("no JSON")


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _one_object(text: str) -> dict[str, Any]:
    """The one JSON object that a text is; empty where it is a line of several, or something else."""
    value = _json(text)
    return value if isinstance(value, dict) else {}


def _numbered(what: str, rows: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    return ((f"{what} {number}", row) for number, row in enumerate(rows, start=1))
