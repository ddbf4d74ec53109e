"""Exports: what a lake knows about features, in the files of other programs.

A module here is an export, found by its name. Its docstring's first line says what it writes. Its function
`write(export)` writes that below `export.folder`: SQL gives the lines or the texts of files, and DuckDB streams
them. It returns a description of what it wrote, unless that is explanations. `READS` names the SQL files, and the
tables, that it reads: of a lake in an object store only these are fetched.

`make export` (`commands/export.py`) puts the folder in place once it is complete.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa

from pipeline.config import Config, SaeConfig
from pipeline.firings.layout import BUCKET_FEATURES
from pipeline.lake import Lake

GIVEN = ("exported_saes", "chosen_explanations")
"""What an export's SQL sees besides the tables: the SAEs to write, and one explanation per feature."""


class ExportedSae(NamedTuple):
    """An SAE, and its names in other programs: a row of `exported_saes`.

    Attributes:
        sae: Its name in the config.
        hookpoint: The hookpoint that it reads, as the config names it.
        n_features: The number of its features.
        layer: The layer in its hookpoint; None if that has none.
        model_id: Neuronpedia's name for the subject model.
        source_id: Neuronpedia's name for the SAE, unique within the model: `9-res-jb`.
        set_name: The set that it belongs to there: `res-jb`.
        hook_name: TransformerLens' name for the hookpoint; None if unknown.
    """

    sae: str
    hookpoint: str
    n_features: int
    layer: int | None
    model_id: str
    source_id: str
    set_name: str
    hook_name: str | None


SAES_SCHEMA = pa.schema(
    [(name, pa.int64() if name in ("n_features", "layer") else pa.string()) for name in ExportedSae._fields]
)
"""The columns of `exported_saes`."""

_NAMED_THERE = re.compile(r"(?P<model>[A-Za-z0-9._-]+)/(?P<source>[0-9]+-(?P<set>[A-Za-z0-9_-]+))")
"""Neuronpedia's name for an SAE."""


@dataclass(frozen=True)
class Export:
    """An export that is being written.

    Attributes:
        lake: The lake to export.
        connection: Sees every table, and the relations in `GIVEN`.
        folder: An empty folder to write into.
        saes: The SAEs to write.
        explainer: Whose explanations to write; None: those of the explainer that each feature's route asks for.
        graph: The file of an attribution graph, if the user named one.
    """

    lake: Lake
    connection: duckdb.DuckDBPyConnection
    folder: Path
    saes: tuple[ExportedSae, ...]
    explainer: str | None = None
    graph: Path | None = None

    def copy(self, name: str | Path, file: str, how: str = "format json", **values: Any) -> int:
        """Write the rows of `<name>.sql` to one file, by default as JSON lines; returns their number."""
        self.lake.create_steps(self.connection, name, GIVEN, **values)
        target = self.folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        return self.lake.copy(self.connection, name, target, how, **values)

    def write_each(self, name: str | Path, **values: Any) -> int:
        """Write a file for each row of `<name>.sql`: its `text` to the path `file`; returns their number."""
        self.lake.create_steps(self.connection, name, GIVEN, **values)
        n_files = 0
        for batch in self.lake.select(self.connection, name, **values).to_arrow_reader(1024):
            for file, text in zip(batch["file"].to_pylist(), batch["text"].to_pylist(), strict=True):
                target = self.folder / file
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")
                n_files += 1
        return n_files

    def feature_ranges(self, sae: ExportedSae) -> Iterator[dict[str, int]]:
        """The features of an SAE, as query parameters, one bucket of firings at a time, which bounds memory."""
        for first in range(0, sae.n_features, BUCKET_FEATURES):
            yield {"first_feature": first, "end_feature": min(first + BUCKET_FEATURES, sae.n_features)}


def exported_sae(config: Config, sae: SaeConfig) -> ExportedSae:
    """An SAE with its names in other programs: from its aliases, or derived from ours."""
    number = re.search(r"(?<![A-Za-z0-9_])\d+(?![A-Za-z0-9_])", sae.hookpoint)
    layer = int(number[0]) if number else None
    for alias in sae.aliases:
        if found := _NAMED_THERE.fullmatch(alias):
            names = found["model"], found["source"], found["set"]
            break
    else:
        own = _slug(f"{config.name}-{sae.name}")
        names = _slug(config.subject.model.rpartition("/")[2]), f"{layer or 0}-{own}", own
    return ExportedSae(sae.name, sae.hookpoint, sae.n_features, layer, *names, _hook_name(sae.hookpoint))


def _slug(name: str) -> str:
    """A name in lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:100] or "unnamed"


def _hook_name(hookpoint: str) -> str | None:
    """TransformerLens' name for a block's output, or for a hookpoint in the config's short form."""
    if hookpoint.startswith("blocks."):
        return hookpoint
    if found := re.fullmatch(r"(resid_pre|resid_mid|resid_post|attn_out|mlp_out)\.(\d+)", hookpoint):
        return f"blocks.{found[2]}.hook_{found[1]}"
    found = re.fullmatch(r"(?:[a-z_]+\.)*(?:layers|blocks|h)\.(\d+)", hookpoint)
    return f"blocks.{found[1]}.hook_resid_post" if found else None
