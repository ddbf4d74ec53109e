"""The number of features per batch, fixed by the first batch, as batch files are named by number."""

from pipeline.errors import LakeError
from pipeline.lake import SCHEMA_FILE, Lake
from pipeline.tables import TABLES

_TABLES = [name for name, table in TABLES.items() if table.partition == "sae_batch"]


def check_batch_size(lake: Lake, recorded: int | None) -> None:
    """Raise LakeError if batches exist and have another size than `selection.batch_size`.

    `recorded` is their size; None before the first run.
    """
    size = lake.config.selection.batch_size
    if recorded not in (None, size) and (names := _made_by_batch(lake)):
        raise LakeError(
            f"selection.batch_size is {size}, but the batches of lake '{lake.root}' have {recorded} features; set "
            f"selection.batch_size: {recorded}, or remove its folders {', '.join(names)}, which are rebuilt "
            "from the answers in the ledger"
        )


def _made_by_batch(lake: Lake) -> list[str]:
    """The tables with a batch in any version, since a config that is changed back finds its old ones."""
    return [
        name for name in _TABLES if any(path.name != SCHEMA_FILE for path in lake.files_below(lake.root / name))
    ]
