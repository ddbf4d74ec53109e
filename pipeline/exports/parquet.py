"""Flat Parquet files of features, their explanations, scores, rules and windows, with a data dictionary.

`dictionary.csv` gives each column's file, type, unit and meaning, as the tables declare them.
"""

import csv

from pipeline.exports import Export
from pipeline.tables import TABLES
from pipeline.tables.sql import relations_read

FILES = {
    "features": "flat_features",
    "scores": "flat_scores",
    "rules": "flat_rules",
    "windows": "flat_windows",
    "summary": "flat_summary",
    "tokens": "flat_tokens",
}
"""The SQL of each file."""
READS = tuple(FILES.values())


def write(export: Export) -> None:
    """Write the files and the dictionary."""
    for file, name in FILES.items():
        export.copy(name, f"{file}.parquet", "format parquet, compression zstd")
    write_dictionary(export)


def write_dictionary(export: Export) -> None:
    """Write `dictionary.csv`: one line per column."""
    with (export.folder / "dictionary.csv").open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(["file", "column", "type", "unit", "meaning"])
        for file, name in FILES.items():
            meanings = _meanings(name)
            rows = export.lake.select(export.connection, name)
            for column, kind in zip(rows.columns, rows.types, strict=True):
                writer.writerow([file, column, str(kind).lower(), *meanings[column]])


def _meanings(name: str) -> dict[str, tuple[str, str]]:
    """Unit and meaning of each column, from the tables that the SQL file reads."""
    columns = [
        column
        for read in ("explanations", *reversed(relations_read(name)))
        if read in TABLES
        for column in TABLES[read].columns
    ]
    return {column.name: (column.unit, column.meaning) for column in columns}
