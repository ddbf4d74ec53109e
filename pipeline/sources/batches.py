"""The number of features per batch, fixed by the first batch, as batch files are named by number."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import LakeError
from pipeline.lake import SCHEMA_FILE, Lake
from pipeline.tables import TABLES

_TABLES = [name for name, table in TABLES.items() if table.partition == "sae_batch"]


def check_batch_size(lake: Lake, recorded: int | None) -> None:
    """Check `selection.batch_size` against the recorded size of existing batches.

    Lakes made before sizes were recorded (None) are checked by the features in the last file of each table.

    Raises LakeError if existing batches have another size.
    """
    size = lake.config.selection.batch_size
    if recorded is None:
        for path in _last_batches(lake):
            batch = int(path.stem)
            features = pc.min_max(pq.read_table(lake.fetched(path), columns=["feature"])["feature"]).as_py()
            first, last = features["min"], features["max"]
            if first is not None and not {first, last} <= {*lake.config.selection.features_of(batch)}:
                raise LakeError(
                    f"selection.batch_size is {size}, but features {first} to {last} are batch {batch} in "
                    f"'{path}'; set it to what it was, or give the experiment another name"
                )
    elif recorded != size and (names := _made_by_batch(lake)):
        raise LakeError(
            f"selection.batch_size is {size}, but the batches of lake '{lake.root}' have {recorded} features; set "
            f"selection.batch_size: {recorded}, or remove its folders {', '.join(names)}, which are rebuilt "
            "from the answers in the ledger"
        )


def _last_batches(lake: Lake) -> Iterator[Path]:
    """The last batch's file of each table for an SAE, in its current version by a plug-in."""
    for name in _TABLES:
        for sae in lake.config.sae_names:
            for part in lake.parts(name):
                yield from sorted(lake.files_below(lake.folder(name, sae, part) / sae))[-1:]


def _made_by_batch(lake: Lake) -> list[str]:
    """The tables with a batch in any version, since a config that is changed back finds its old ones."""
    return [
        name for name in _TABLES if any(path.name != SCHEMA_FILE for path in lake.files_below(lake.root / name))
    ]
