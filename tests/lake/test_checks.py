"""Keys are checked in the partition that was made; what other partitions hold is not read again for it."""

from collections.abc import Callable

import pyarrow as pa
import pytest

from pipeline.config import Config
from pipeline.lake import Lake
from pipeline.lake.checks import repeated_keys
from pipeline.tables import TABLES
from pipeline.tables.versions import SourceHashes

SAE = "hand-set"


def rows(table: str, keys: list[int]) -> pa.Table:
    schema = TABLES[table].schema
    [key] = TABLES[table].key
    values = pa.array(keys).cast(schema.field(key).type)
    columns = {each.name: pa.nulls(len(keys), each.type) for each in schema}
    return pa.table({**columns, key: values}, schema=schema)


@pytest.mark.parametrize(
    ("table", "partition", "other"),
    [
        ("examples", {"sae": SAE, "batch": 0}, {"sae": SAE, "batch": 1}),
        ("contexts", {"shard": 0}, {"shard": 1}),
    ],
)
def test_a_repeated_key_is_found_in_its_partition_and_no_other_is_read(
    make_experiment: Callable[..., Config], table: str, partition: dict[str, object], other: dict[str, object]
) -> None:
    lake = Lake(make_experiment(), SourceHashes())
    lake.write(table, rows(table, [1, 2]), **partition)
    lake.path(table, **other).write_bytes(b"no Parquet")
    assert repeated_keys(lake, table, **partition) == 0
    lake.write(table, rows(table, [1, 2, 2, 3, 3, 3]), **partition)
    assert repeated_keys(lake, table, **partition) == 2
