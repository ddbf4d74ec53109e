"""The SQL of a table's view: a select of its files, with the types and paths written out.

DDL takes no parameters, so these statements are put together here and in `views`, and nowhere else.
"""

from pathlib import Path

import duckdb
import pyarrow as pa

from pipeline.errors import LakeError
from pipeline.tables import Table


def look_below(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Let a connection and its cursors find paths relative to a lake's folder.

    Raises LakeError if there is a comma in the folder's path: DuckDB splits the setting at commas.
    """
    if "," in str(folder.absolute()):
        raise LakeError(f"lake folder '{folder.absolute()}' contains a ',', which DuckDB cannot open; rename it")
    connection.execute(f"set global file_search_path = {quoted(folder.absolute())}")


def select_rows(table: Table, files: str) -> str:
    """A select from a table's Parquet files, with its computed columns."""
    columns = [column.name for column in table.columns]
    columns += [f"{each.expression} as {each.name}" for each in table.derived]
    return f"select {', '.join(columns)} from read_parquet({files})"


def select_lines(table: Table, files: str) -> str:
    """A select from JSON lines; incomplete lines are skipped. Of the ledger, each request's last line that is not
    a failure, or else its last."""
    names = ", ".join(column.name for column in table.columns)
    types = ", ".join(f"{column.name}: '{_sql_type(column.type)}'" for column in table.columns)
    return (
        f"select {names} from read_json({files}, format = 'newline_delimited', ignore_errors = true, "
        f"columns = {{{types}}}) where {table.key[0]} is not null {_LAST_LINES.get(table.name, '')}"
    )


_LAST_LINES = {
    "llm_requests": "qualify row_number() over (partition by request_id "
    "order by status in ('http_error', 'budget'), requested_at desc) = 1",
}
"""Which lines of a table count, if not all do."""


def quoted(value: Path | str) -> str:
    """A SQL string."""
    return "'" + str(value).replace("'", "''") + "'"


def _sql_type(kind: pa.DataType) -> str:
    """The DuckDB type of an Arrow type, for reading JSON."""
    if pa.types.is_list(kind):
        return f"{_sql_type(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        return "struct(" + ", ".join(f"{field.name} {_sql_type(field.type)}" for field in kind) + ")"
    return {"string": "varchar", "int64": "bigint", "double": "double", "bool": "boolean"}[str(kind)]
