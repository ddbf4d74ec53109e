"""`make export TO=…`: what the lake knows, in the files of another program.

A folder is written beside and put in place when all of it is there; an earlier export in its place is replaced.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.config import load_config
from pipeline.errors import ConfigError, nearest
from pipeline.exports import GIVEN, Export, ExportedSae, exported_sae
from pipeline.lake import Lake, whole_folder
from pipeline.plugins import find_plugin, find_plugins
from pipeline.show.run_card import write_run_card
from pipeline.sources import recorded_lake
from pipeline.tables import TABLES
from pipeline.tables.sql import steps_of, tables_read

_MARK = ".latentlake-export"
"""An empty file by which a folder is known as an export, which the next one may replace."""

_SCHEMA = pa.schema(
    [
        *(("sae", pa.string()), ("hookpoint", pa.string()), ("n_features", pa.int64()), ("layer", pa.int64())),
        *((name, pa.string()) for name in ("model_id", "source_id", "set_name", "hook_name")),
    ]
)


def write_export(
    path: str,
    to: str | None,
    *,
    out: str | None = None,
    explainer: str | None = None,
    saes: Sequence[str] = (),
    graph: str | None = None,
) -> Path:
    """Export the lake of the config at `path`, say what was written, and return the folder.

    Args:
        path: The config.
        to: The export's name.
        out: The folder; by default `exports/NAME` in the lake.
        explainer: Whose explanations; by default those of the explainer that each feature's route asks for.
        saes: The SAEs; all by default.
        graph: A file of an attribution graph, for exports that label one.

    Raises ConfigError for a name that is not known, or a folder that holds something else.
    """
    if not to:
        raise ConfigError(f"say what to export to: make export TO=…, one of {', '.join(_names())}")
    plugin = find_plugin("exports", to.replace("-", "_"))
    config = load_config(path)
    if explainer and explainer not in config.explaining.explainers:
        known = nearest(explainer, config.explaining.explainers)
        raise ConfigError(f"EXPLAINER={explainer}: not in explaining.explainers of '{path}'; nearest: {known}")
    chosen = tuple(exported_sae(config, config.sae(name)) for name in saes or config.sae_names)
    folder = Path(out).absolute() if out else config.lake_folder / "exports" / plugin.name
    if folder.exists() and not (folder / _MARK).is_file():
        raise ConfigError(f"'{folder}' is there and is no export; name another folder with OUT=")
    lake = recorded_lake(config)
    lake.require("feature_stats", "feature_routes")
    with whole_folder(folder) as temporary:
        said = _write(lake, plugin.load(), temporary, chosen, explainer, Path(graph) if graph else None)
        write_run_card(lake, temporary)
        (temporary / _MARK).touch()
    print(f"{to}: {said}, in {folder}")
    return folder


def _write(
    lake: Lake, module: Any, folder: Path, saes: tuple[ExportedSae, ...], explainer: str | None, graph: Path | None
) -> str:
    """Write into a folder by the module of an export; in words what that was, as a rule whose explanations."""
    rows = pa.Table.from_pylist([sae._asdict() for sae in saes], _SCHEMA)
    with lake.connect(given={"exported_saes": rows}, tables=_tables_read(module)) as connection:
        for step in steps_of("chosen_explanations"):
            lake.create_temporary(connection, str(step), explainer=explainer)
        if words := module.write(Export(lake, connection, folder, saes, explainer, graph)):
            return str(words)
        counts = lake.select(connection, "chosen_counts").fetchall()
    said = [f"{n:,} explanation{'s' if n != 1 else ''} of {who}" for who, n in counts]
    return ", ".join(said) or "no explanations, as there are none"


def _tables_read(module: Any) -> set[str]:
    """The tables that an export reads: those of its `READS` with all steps before, or all where it has none."""
    reads = getattr(module, "READS", tuple(TABLES))
    files = [name for name in reads if name not in TABLES]
    return {
        *(name for name in reads if name in TABLES),
        *tables_read("chosen_explanations", "chosen_counts", *files, given=GIVEN[:1]),
    }


def _names() -> list[str]:
    return sorted(name.replace("_", "-") for name in find_plugins("exports"))
