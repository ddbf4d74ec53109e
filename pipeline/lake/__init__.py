"""The lake: where tables are kept, and how they are written and read."""

from pipeline.lake.catalog import CATALOG_FILE, open_catalog
from pipeline.lake.files import Published
from pipeline.lake.paths import LEDGER_FOLDER, SCHEMA_FILE
from pipeline.lake.publishing import is_writable, whole_folder
from pipeline.lake.row_groups import RowGroupWriter
from pipeline.lake.views import Given, Lake

__all__ = [
    "CATALOG_FILE",
    "LEDGER_FOLDER",
    "SCHEMA_FILE",
    "Given",
    "Lake",
    "Published",
    "RowGroupWriter",
    "is_writable",
    "open_catalog",
    "whole_folder",
]
