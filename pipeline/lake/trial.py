"""A plug-in's SQL tried on tables without rows, so that what is wrong in it is said before a run begins."""

from pathlib import Path

import duckdb

from pipeline.config import Config
from pipeline.errors import ConfigError
from pipeline.lake.queries import bind, create_steps
from pipeline.tables import TABLES
from pipeline.tables.sql import tables_read
from pipeline.tables.stages import PARTITION_VALUES, STAGES


def columns_of(config: Config, path: Path, table: str) -> list[str]:
    """The columns of a SQL file that a plug-in runs while `table` is made; nothing is read.

    Raises ConfigError, with the file and what DuckDB says, if it cannot be run: an unknown column, table, function
    or `$parameter`.
    """
    stage = STAGES[table]
    values = dict.fromkeys((*stage.values, *PARTITION_VALUES - {"batch"}))
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("create temp macro context_length() as 1")
        for name in tables_read(path, given=stage.given):
            connection.register("no_rows", TABLES[name].schema.empty_table())
            computed = [f", {each.expression} as {each.name}" for each in TABLES[name].derived]
            connection.execute(f"create table {name} as select *{''.join(computed)} from no_rows")
        create_steps(connection, config, path, stage.given, {**values, "batch": 0})
        try:
            text, parameters = bind(connection, config, path, {**values, "batch": 0})
            return connection.sql(text, params=parameters).columns
        except (ConfigError, duckdb.Error) as error:
            words = " ".join(str(error).partition("\n\nLINE ")[0].split())
            raise ConfigError(f"SQL file '{path}' cannot be run: {words}") from None
