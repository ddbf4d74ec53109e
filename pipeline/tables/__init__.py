"""Every table of the lake, declared once: columns, types, units, meaning, key, and how it is made and checked.

Writes are checked against these declarations. The catalog's views, the graph with its jobs and checks, the column
descriptions in the Dagster UI and the table reference in the docs are generated from them.
"""

from pipeline.tables.corpus import CORPUS
from pipeline.tables.examples import EXAMPLES
from pipeline.tables.explanations import EXPLANATIONS
from pipeline.tables.features import FEATURES
from pipeline.tables.firings import FIRINGS
from pipeline.tables.schema import Column, Derived, Group, Law, Partition, Table, Unit
from pipeline.tables.scores import SCORES

__all__ = ["TABLES", "Column", "Derived", "Group", "Law", "Partition", "Table", "Unit"]

TABLES: dict[str, Table] = {
    table.name: table for table in (*CORPUS, *FIRINGS, *FEATURES, *EXAMPLES, *EXPLANATIONS, *SCORES)
}
"""Every table by name, in the order of the data flow."""
