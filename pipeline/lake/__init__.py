"""The lake: where tables live, how they are written and read, and what they were made from."""

from pipeline.lake.lake import (
    CATALOG_FILE,
    LEDGER_FOLDER,
    SCHEMA_FILE,
    Given,
    Lake,
    Published,
    RowGroupWriter,
    is_writable,
)

__all__ = [
    "CATALOG_FILE",
    "LEDGER_FOLDER",
    "SCHEMA_FILE",
    "Given",
    "Lake",
    "Published",
    "RowGroupWriter",
    "is_writable",
]
