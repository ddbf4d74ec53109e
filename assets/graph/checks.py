"""Asset checks for the laws: `sql/checks/<check>.sql` selects the rows that break one."""

from collections.abc import Mapping
from typing import NamedTuple

import dagster as dg

from assets.graph.declare import TableAsset, failures_for_people, open_lake, partitions
from pipeline.config import Config


class Law(NamedTuple):
    """A law of a table, checked when it has been materialised."""

    table: str
    check: str
    words: str


LAWS = (
    Law("slots", "no_test_candidate_in_train", "No test candidate's tokens stand in a train document."),
    Law("feature_stats", "every_feature_has_stats", "Every feature of the SAE has exactly one row."),
    Law("feature_routes", "every_feature_routed_once", "Every feature of the SAE is routed exactly once."),
    Law("example_index", "active_slots_fire", "A feature fires in its activating slots, and in no silent one."),
    Law("selected_features", "selected_have_examples", "Selected llm and rule features have slots in both roles."),
)

UNCHECKED_KEYS = frozenset({"activation_shards", "activations"})
"""Tables whose keys are checked row by row as they are merged, not by a query."""


def checks_of(config: Config, assets: Mapping[str, TableAsset]) -> list[dg.AssetChecksDefinition]:
    """One check a law, and one for the key of every table; all stop what is downstream."""
    laws = [_law_check(config, assets[law.table], law) for law in LAWS]
    keys = [_key_check(config, asset) for name, asset in assets.items() if name not in UNCHECKED_KEYS]
    return [*laws, *keys]


def _law_check(config: Config, asset: TableAsset, law: Law) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=dg.AssetKey([config.name, law.table]),
        name=law.check,
        description=law.words,
        blocking=True,
        partitions_def=partitions(config, asset.partitioned_by),
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        from pipeline.lake.checks import broken_rows

        with failures_for_people():
            return _result(broken_rows(open_lake(config), law.check, **asset.partition(context)))

    return check


def _key_check(config: Config, asset: TableAsset) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=dg.AssetKey([config.name, asset.table]),
        name="key_is_unique",
        description="No two rows have the same key.",
        blocking=True,
        partitions_def=partitions(config, asset.partitioned_by),
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        from pipeline.lake.checks import repeated_keys

        with failures_for_people():
            return _result(repeated_keys(open_lake(config), asset.table, asset.partition(context).get("sae")))

    return check


def _result(n_broken: int) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=n_broken == 0, metadata={"rows_that_break_it": n_broken})
