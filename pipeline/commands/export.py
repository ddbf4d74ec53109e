"""`make export TO=…`: explanations and scores in another program's files.

A temporary folder is written and renamed when it is complete; it replaces an earlier export.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.commands.spelled import spelled
from pipeline.config import load_config
from pipeline.errors import ConfigError, nearest
from pipeline.exports import GIVEN, SAES_SCHEMA, Export, ExportedSae, exported_sae
from pipeline.fit.verdict import misfits_in
from pipeline.lake import Lake, whole_folder
from pipeline.plugins import find_plugin, find_plugins
from pipeline.show.run_card import write_run_card
from pipeline.show.terminal import printable
from pipeline.sources import recorded_lake
from pipeline.tables import TABLES
from pipeline.tables.sql import tables_read

_MARK = ".latentlake-export"
"""An empty file that marks a folder as an export, which the next one may replace."""

_RESULTS = ("explanations", "predictions", "scores")
"""Tables of what models were asked for; where only another version has rows, an export would have none."""


def write_export(
    path: str,
    to: str | None,
    *,
    out: str | None = None,
    explainer: str | None = None,
    saes: Sequence[str] = (),
    graph: str | None = None,
) -> Path:
    """Export the lake of the config at `path`, print what was written, and return the folder.

    Args:
        path: The config.
        to: The export's name.
        out: The folder to write; by default `exports/NAME` in the lake.
        explainer: Whose explanations to write; by default those of the explainer that a feature's route asks for.
        saes: The SAEs; by default all.
        graph: The file of an attribution graph, for exports that label one.

    Raises:
        ConfigError: A name is unknown, or the folder holds something else.
        LakeError: Another config or version of latentlake made what would be exported.
    """
    config = load_config(path)
    if not to:
        command = spelled("make export TO=…", "latentlake export CONFIG …")
        raise ConfigError(f"no export is named; write {command}, one of {', '.join(_names())}")
    plugin = find_plugin("exports", to.replace("-", "_"))
    if explainer and explainer not in config.explaining.explainers:
        known = nearest(explainer, config.explaining.explainers)
        given = spelled("EXPLAINER=", "--explainer ") + explainer
        raise ConfigError(f"{given}: not in explaining.explainers of '{path}'; nearest: {known}")
    chosen = tuple(exported_sae(config, config.sae(name)) for name in saes or config.sae_names)
    folder = Path(out).absolute() if out else config.lake_folder / "exports" / plugin.name
    if folder.exists() and not (folder / _MARK).is_file():
        another = f"choose another folder with {spelled('OUT=', '--out')}"
        raise ConfigError(f"'{folder}' already exists and is not an export; {another}")
    lake = recorded_lake(config)
    lake.require("feature_stats", "feature_routes")
    module = plugin.load()
    lake.require_current(*(name for name in _RESULTS if name in _tables_read(module)))
    with whole_folder(folder) as temporary:
        written = _write(lake, module, temporary, chosen, explainer, Path(graph) if graph else None)
        write_run_card(lake, temporary)
        (temporary / _MARK).touch()
    print(f"{to}: {written}, in {folder}")
    for sae, sentence in misfits_in(lake).items():
        if sae in {each.sae for each in chosen}:
            print(printable(sentence))
    return folder


def _write(
    lake: Lake, module: Any, folder: Path, saes: tuple[ExportedSae, ...], explainer: str | None, graph: Path | None
) -> str:
    """Write into a folder with an export's module; returns what was written, usually explanations by explainer."""
    rows = pa.Table.from_pylist([sae._asdict() for sae in saes], SAES_SCHEMA)
    with lake.connect(given={"exported_saes": rows}, tables=_tables_read(module, "chosen_counts")) as connection:
        lake.create_steps(connection, "chosen_counts", GIVEN[:1], explainer=explainer)  # chosen_explanations too
        if words := module.write(Export(lake, connection, folder, saes, explainer, graph)):
            return str(words)
        counts = lake.select(connection, "chosen_counts").fetchall()
    written = [f"{n:,} explanation{'s' if n != 1 else ''} by {explainer}" for explainer, n in counts]
    return ", ".join(written) or "no explanations, as the lake has none"


def _tables_read(module: Any, *more: str) -> set[str]:
    """The tables that an export reads, directly or through the SQL in its `READS`; all if it has no `READS`.

    Those that `more` SQL files read are among them.
    """
    reads = (*getattr(module, "READS", tuple(TABLES)), *more)
    files = [name for name in reads if name not in TABLES]
    return {*(name for name in reads if name in TABLES), *tables_read(*files, given=GIVEN[:1])}


def _names() -> list[str]:
    return sorted(name.replace("_", "-") for name in find_plugins("exports"))
