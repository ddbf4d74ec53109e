"""Asset checks for the laws: `sql/checks/<check>.sql` selects the rows that break one."""

from collections.abc import Mapping

import dagster as dg

from assets.graph.declare import TableAsset, failures_for_people, open_lake, partitions
from pipeline.config import Config
from pipeline.tables import Law


def checks_of(config: Config, assets: Mapping[str, TableAsset]) -> list[dg.AssetChecksDefinition]:
    """Checks of laws, keys and the SAEs' fit, which stop what is downstream, and one of controls, which warns."""
    laws = [_law_check(config, asset, law) for asset in assets.values() for law in asset.table.laws]
    keys = [_key_check(config, asset) for asset in assets.values() if asset.table.is_key_checked]
    return [*laws, *keys, _fit_check(config), _controls_check(config)]


def _law_check(config: Config, asset: TableAsset, law: Law) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=dg.AssetKey([config.name, asset.table.name]),
        name=law.check,
        description=law.words,
        blocking=True,
        partitions_def=partitions(config, asset.table.unit),
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        from pipeline.lake.checks import broken_rows

        with failures_for_people():
            return _result(broken_rows(open_lake(config), law.check, **asset.partition(context)))

    return check


def _key_check(config: Config, asset: TableAsset) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=dg.AssetKey([config.name, asset.table.name]),
        name="key_is_unique",
        description="No two rows have the same key.",
        blocking=True,
        partitions_def=partitions(config, asset.table.unit),
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        from pipeline.lake.checks import repeated_keys

        with failures_for_people():
            return _result(repeated_keys(open_lake(config), asset.table.name, **asset.partition(context)))

    return check


def _fit_check(config: Config) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=dg.AssetKey([config.name, "sae_fit"]),
        name="every_sae_fits",
        description="Every SAE fits its hookpoint, or the config accepts that it does not (saes.fit).",
        blocking=True,
    )
    def check() -> dg.AssetCheckResult:
        from pipeline.fit.verdict import fit_sentence, is_misfit

        with failures_for_people():
            lake = open_lake(config)
            misfits = [sae for sae in config.saes if sae.fit == "check" and is_misfit(lake, sae.name)]
            told = [fit_sentence(lake, sae.name) for sae in misfits or config.saes]
        return dg.AssetCheckResult(passed=not misfits, description="\n".join(told))

    return check


def _controls_check(config: Config) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=dg.AssetKey([config.name, "summary"]),
        name="controls_are_at_chance",
        description="No scorer finds another feature's explanation better than chance.",
    )
    def check() -> dg.AssetCheckResult:
        with failures_for_people():
            lake = open_lake(config)
            found = {sae: lake.query("control_verdicts", sae=sae).to_dicts() for sae in config.sae_names}
        verdicts = [(sae, row["scorer"], row["verdict"]) for sae, rows in found.items() for row in rows]
        told = [f"{sae}: {verdict} by {scorer}" for sae, scorer, verdict in verdicts]
        return dg.AssetCheckResult(
            passed=all(verdict != "above chance" for *_, verdict in verdicts),
            severity=dg.AssetCheckSeverity.WARN,
            description="\n".join(told) or "no scorer judged another feature's explanation",
        )

    return check


def _result(n_broken: int) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=n_broken == 0, metadata={"rows_that_break_it": n_broken})
