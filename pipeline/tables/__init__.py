"""Every table of the lake, declared once: columns, types, units, meaning and key.

Writes are checked against these declarations; the views of the catalog, the column descriptions in the
Dagster UI and the table reference in the docs come from them.
"""

from pipeline.tables.data import DATA_TABLES
from pipeline.tables.explain import EXPLAIN_TABLES
from pipeline.tables.schema import Column, Derived, Partition, Table

__all__ = ["TABLES", "Column", "Derived", "Partition", "Table"]

TABLES: dict[str, Table] = {table.name: table for table in (*DATA_TABLES, *EXPLAIN_TABLES)}
"""Every table by name, in the order of the data's way."""
