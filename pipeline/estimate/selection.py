"""What of the features that a config names a run explains, and in sentences what it leaves out."""

from collections.abc import Iterator

import polars as pl
import pyarrow as pa

from pipeline.asking.unfinished import is_whole
from pipeline.errors import some_of
from pipeline.explainers.prompted import Prompted
from pipeline.features.selection import left_out_features
from pipeline.features.wanted import LEAST_SLOTS, FeatureList, read_feature_list
from pipeline.lake import Lake
from pipeline.make_table import read_rows
from pipeline.plugins import Declared, find_plugin

_SHOWN_FEATURES = 10


def batches_of(lake: Lake, sae: str, selected: pa.Table) -> pl.DataFrame:
    """The batches of selected features in the order of a run: batch, n_features, is_unfinished, is_taken.

    Args:
        lake: The lake.
        sae: The SAE.
        selected: Its rows of `selected_features`.
    """
    given = {"selected_features": selected}
    batches = pl.DataFrame(read_rows(lake, "selected_batches", sae=sae, given=given)).select("batch", "n_features")
    unfinished = {*lake.query("unfinished_batches", given=given).filter(sae=sae)["batch"]}
    most = lake.config.selection.batches_per_run
    return batches.with_columns(
        pl.Series(
            "is_unfinished",
            [batch in unfinished or not is_whole(lake, sae, batch) for batch in batches["batch"]],
            pl.Boolean,
        ),
        is_taken=pl.int_range(pl.len()) < (batches.height if most is None else most),
    )


def selection_notes(lake: Lake, sae: str, selected: pa.Table) -> list[str]:
    """What a run leaves out of the features that the config names, and why; `selected` as in `batches_of`."""
    listed = read_feature_list(lake.config)
    notes = [*_notes_on_list(lake, sae, listed, selected)] if listed else []
    if not selected.num_rows:
        notes.append(f"No feature of {sae} is selected{_condition(lake)}.")
    return notes


def beyond_run_note(lake: Lake, sae: str, selected: pa.Table) -> str | None:
    """The unfinished batches of an SAE that the next run does not make, as a sentence; None if there are none."""
    left = batches_of(lake, sae, selected).filter(~pl.col("is_taken") & pl.col("is_unfinished"))
    if left.is_empty():
        return None
    most, n_features = lake.config.selection.batches_per_run, sum(left["n_features"])
    first = "first" if most == 1 else f"first {most:,}"
    return (
        f"{left.height:,} more {'batch' if left.height == 1 else 'batches'} of {sae} ({_features(n_features)}) "
        f"{_are(left.height)} selected and not counted here: a run makes the {first} of each SAE "
        "(selection.batches_per_run; null: all)."
    )


def _notes_on_list(lake: Lake, sae: str, listed: FeatureList, selected: pa.Table) -> Iterator[str]:
    selection = lake.config.selection
    n_listed = pl.DataFrame(listed.features).filter(sae=sae).height
    of_listed = f"of the {n_listed:,} listed features of {sae}"
    left_out = left_out_features(lake, sae, listed, selected)
    whys = {
        "hardly_fires": f"firing in fewer than {LEAST_SLOTS} slots of train or of test documents",
        "condition": f"by selection.where ({selection.where})",
        "quota": f"by selection.quotas ({selection.quotas_in_words})",
    }
    for reason, why in whys.items():
        rows = left_out.filter(reason=reason)
        shown = [
            f"{feature} ({train:,} train, {test:,} test)" if reason == "hardly_fires" else f"{feature}"
            for feature, _, train, test in rows.iter_rows()
        ]
        if shown:
            few = some_of(shown, _SHOWN_FEATURES)
            yield f"{rows.height:,} {of_listed} {_are(rows.height)} left out, {why}: {few}."
    if asking := _explainers_without_rules(lake):
        routes = lake.query("figures/selected_features", sae=sae, given={"selected_features": selected})
        if n_rules := routes.filter(figure="selected_rule")["value"].sum():
            has, it = ("has", "it") if n_rules == 1 else ("have", "them")
            yield (
                f"{n_rules:,} {of_listed} {has} a rule, so no model explains {it} "
                f"(explainer {', '.join(asking)}); with routing.rule_gain: 1 no feature has the route `rule`."
            )


def _explainers_without_rules(lake: Lake) -> list[str]:
    """The config's explainers that ask a model, but not about features of route `rule`."""
    explaining = lake.config.explaining

    def base(name: str) -> str:
        return Declared.by(getattr(explaining, name)).of or name

    return [
        name
        for name in explaining.explainers
        if isinstance(find_plugin("explainers", base(name)).load().explainer, Prompted)
    ]


def _condition(lake: Lake) -> str:
    """What selects no feature, in brackets."""
    selection = lake.config.selection
    keys = {"features": selection.features, "where": selection.where, "quotas": selection.quotas_in_words}
    said = ", ".join(f"selection.{key}: {value}" for key, value in keys.items() if value)
    return f" ({said})" if said else ""


def _features(n: int) -> str:
    return f"{n:,} {'feature' if n == 1 else 'features'}"


def _are(n: int) -> str:
    return "is" if n == 1 else "are"
