"""Keys are checked in the partition that was made; what other partitions hold is not read again for it."""

from collections.abc import Callable

import pyarrow as pa
import pytest

from pipeline.config import Config
from pipeline.lake import Lake, checks
from pipeline.lake.checks import broken_rows, repeated_keys
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


def test_a_law_on_firings_is_tried_on_some_features_at_a_time(
    make_experiment: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(make_experiment(), SourceHashes())
    n_features = lake.config.sae(SAE).n_features
    asked = []

    class Found:
        height = 2

    def query(_lake: Lake, name: str, *, sae: str, first_feature: int, end_feature: int) -> Found:
        assert (name, sae) == ("checks/active_slots_fire", SAE)
        asked.extend(range(first_feature, end_feature))
        return Found()

    monkeypatch.setattr(checks, "_FEATURES_AT_ONCE", -(-n_features // 3))
    monkeypatch.setattr(Lake, "query", query)
    assert broken_rows(lake, "active_slots_fire", sae=SAE) == 2 * 3
    assert asked[:n_features] == list(range(n_features))
