"""Asset checks: the laws of the tables, unique keys, whether the SAEs fit, and whether controls are at chance."""

from collections.abc import Sequence

import dagster as dg

from assets.graph.failures import failures_for_people
from assets.graph.keys import asset_key
from assets.graph.lakes import open_lake
from assets.graph.partitions import partition_keywords, partitions
from pipeline.config import Config
from pipeline.tables import Law, Table

_UNIQUE_KEY = Law("key_is_unique", "No two rows have the same key.")


def checks_of(config: Config, tables: Sequence[Table]) -> list[dg.AssetChecksDefinition]:
    """Checks of laws, keys and the SAEs' fit, which block what is downstream, and one of controls, which warns."""
    laws = [_law_check(config, table, law) for table in tables for law in table.laws]
    keys = [_law_check(config, table, _UNIQUE_KEY) for table in tables if table.is_key_checked]
    return [*laws, *keys, _fit_check(config), _controls_check(config)]


def _law_check(config: Config, table: Table, law: Law) -> dg.AssetChecksDefinition:
    """A check that passes where no row breaks a law of a table."""

    @dg.asset_check(
        asset=asset_key(config, table.name),
        name=law.check,
        description=law.words,
        blocking=True,
        partitions_def=partitions(config, table.unit),
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        from pipeline.lake.checks import broken_rows, repeated_keys

        with failures_for_people():
            lake, partition = open_lake(config), partition_keywords(table.unit, context)
            if law is _UNIQUE_KEY:
                n_broken = repeated_keys(lake, table.name, **partition)
            else:
                n_broken = broken_rows(lake, law.check, **partition)
        return dg.AssetCheckResult(passed=n_broken == 0, metadata={"rows_that_break_it": n_broken})

    return check


def _fit_check(config: Config) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key(config, "sae_fit"),
        name="every_sae_fits",
        description="Every SAE fits its hookpoint, or the config accepts that it does not (saes.fit).",
        blocking=True,
    )
    def check() -> dg.AssetCheckResult:
        from pipeline.fit.verdict import fit_sentence, is_misfit

        with failures_for_people():
            lake = open_lake(config)
            misfits = [sae for sae in config.saes if sae.fit == "check" and is_misfit(lake, sae.name)]
            sentences = [fit_sentence(lake, sae.name) for sae in misfits or config.saes]
        return dg.AssetCheckResult(passed=not misfits, description="\n".join(sentences))

    return check


def _controls_check(config: Config) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key(config, "summary"),
        name="controls_are_at_chance",
        description="No scorer finds another feature's explanation better than chance.",
    )
    def check() -> dg.AssetCheckResult:
        with failures_for_people():
            lake = open_lake(config)
            found = {sae: lake.query("control_verdicts", sae=sae).to_dicts() for sae in config.sae_names}
        verdicts = [(sae, row["scorer"], row["verdict"]) for sae, rows in found.items() for row in rows]
        sentences = [f"{sae}: {verdict} by {scorer}" for sae, scorer, verdict in verdicts]
        return dg.AssetCheckResult(
            passed=all(verdict != "above chance" for *_, verdict in verdicts),
            severity=dg.AssetCheckSeverity.WARN,
            description="\n".join(sentences) or "no scorer judged another feature's explanation",
        )

    return check
