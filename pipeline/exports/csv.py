"""The files of `parquet` as CSV: UTF-8, a header line, lists and structs as JSON; with the same dictionary."""

from pipeline.exports import Export
from pipeline.exports.parquet import FILES, write_dictionary

READS = tuple(FILES.values())
NESTED = frozenset({"list", "struct", "array", "map"})
"""DuckDB's kinds of types whose values CSV holds as JSON."""


def write(export: Export) -> None:
    """Write the files and the dictionary."""
    for file, name in FILES.items():
        rows = export.lake.select(export.connection, name)
        flat = ", ".join(
            f'to_json("{column}") as "{column}"' if kind.id in NESTED else f'"{column}"'
            for column, kind in zip(rows.columns, rows.types, strict=True)
        )
        rows.project(flat).write_csv(str(export.folder / f"{file}.csv"), header=True)
    write_dictionary(export)
