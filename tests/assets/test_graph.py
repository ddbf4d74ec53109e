"""The Dagster graph: what is in it, and that it materialises, fails and checks as a user expects."""

import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from faults import prepare
from runs import materialise_all
from tiny import N_FEATURES, hand_set_entry, rows_of, write_hand_set_sae

from assets.graph.build import JOBS, build_definitions
from assets.graph.lakes import open_lake
from assets.run.steps import missing_steps
from pipeline.config import LAKE_VARIABLE, Config, load_config
from pipeline.lake import Lake
from pipeline.tables.inputs import is_made
from pipeline.tables.stages import STAGES

Experiment = Callable[..., Config]
JUDGED = [
    *("examples", "explanations", "feature_stats", "predictions", "rule_scores", "scorer_rhos"),
    "stated_rule_scores",
]


def test_the_graph_is_the_one_of_the_design(make_experiment: Experiment) -> None:
    graph = build_definitions(make_experiment()).resolve_asset_graph()
    assert {key.path[0] for key in graph.get_all_asset_keys()} == {"tiny"}
    arrows = {
        key.path[-1]: sorted(parent.path[-1] for parent in graph.get(key).parent_keys)
        for key in graph.get_all_asset_keys()
    }
    assert arrows == {
        "saes": [],
        "documents": [],
        "tokens": [],
        "contexts": ["documents"],
        "slots": ["documents"],
        "train_words": ["documents", "slots", "tokens"],
        "sae_fit": ["documents", "saes"],
        "activation_shards": ["contexts", "sae_fit", "saes"],
        "activations": ["activation_shards"],
        "feature_tokens": ["activations", "contexts", "documents", "slots"],
        "feature_stats": ["activations", "contexts", "documents", "feature_tokens", "saes", "slots", "tokens"],
        "scrambled_contexts": ["contexts", "documents", "feature_stats", "feature_tokens", "saes", "tokens"],
        "context_independence": ["feature_stats", "scrambled_contexts"],
        "feature_logits": ["saes", "tokens"],
        "feature_rules": [
            *("activations", "contexts", "documents", "feature_stats", "feature_tokens", "slots", "tokens"),
        ],
        "rule_scores": ["activations", "contexts", "documents", "feature_rules", "slots", "tokens"],
        "stated_rule_scores": ["activations", "contexts", "documents", "feature_rules", "slots", "tokens"],
        "feature_routes": ["feature_rules", "feature_stats"],
        "selected_features": ["feature_routes", "feature_stats"],
        "feature_neighbours": ["saes"],
        "feature_cofirings": ["activations", "contexts"],
        "estimate": [
            *("activations", "contexts", "documents", "example_index", "feature_logits", "feature_neighbours"),
            *("feature_routes", "feature_rules", "feature_stats", "selected_features", "slots", "tokens"),
        ],
        "example_index": ["activations", "contexts", "documents", "slots"],
        "examples": [
            *("activations", "contexts", "documents", "example_index", "feature_neighbours", "feature_stats"),
            *("selected_features", "slots"),
        ],
        "explanations": [
            *("examples", "feature_logits", "feature_neighbours", "feature_routes", "feature_rules"),
            *("selected_features", "tokens"),
        ],
        "fuzzing_pairs": ["examples", "feature_stats"],
        "predictions": [
            *("examples", "explanations", "feature_routes", "fuzzing_pairs", "scorer_rhos", "selected_features"),
            "tokens",
        ],
        "scorer_rhos": [
            *("activations", "contexts", "documents", "example_index", "feature_logits", "feature_neighbours"),
            *("feature_routes", "feature_rules", "feature_stats", "selected_features", "slots", "tokens"),
        ],
        "scores": JUDGED,
        "score_details": sorted(["example_index", *JUDGED, "slots"]),
        "summary": ["examples", "explanations", "feature_routes", "predictions", "scores"],
        "scorer_agreements": ["scores"],
        "report": ["scorer_agreements", "summary"],
        "explainer_comparisons": ["explanations", "feature_routes", "predictions", "scores"],
    }


def test_what_a_plug_in_alone_reads_is_made_where_the_config_names_it(make_experiment: Experiment) -> None:
    config = make_experiment(scoring={"scorers": ["intervention"]}, explaining={"explainers": ["keywords"]})
    graph = build_definitions(config).resolve_asset_graph()
    read = {key.path[-1] for key in graph.get(dg.AssetKey(["tiny", "predictions"])).parent_keys}
    assert "steered_texts" in read and "fuzzing_pairs" not in read
    read = {key.path[-1] for key in graph.get(dg.AssetKey(["tiny", "explanations"])).parent_keys}
    assert "feature_tokens" in read


def test_there_is_one_job_a_group_and_each_table_is_in_one(make_experiment: Experiment) -> None:
    definitions = build_definitions(make_experiment())
    tables = [
        key.path[-1] for job in JOBS for key in definitions.resolve_job_def(job).asset_layer.executable_asset_keys
    ]
    of_others = {"steered_texts", "token_changes"}  # which no plug-in of it reads
    assert sorted(tables) == sorted(set(STAGES) - of_others)


def test_shards_and_saes_are_the_partitions(make_experiment: Experiment) -> None:
    graph = build_definitions(make_experiment()).resolve_asset_graph()
    keys = {key.path[-1]: graph.get(key).partitions_def for key in graph.get_all_asset_keys()}
    assert keys["documents"] is None
    assert keys["activation_shards"].get_partition_keys() == ["00000", "00001"]
    assert keys["feature_routes"].get_partition_keys() == ["hand-set"]


@pytest.mark.whole
def test_everything_materialises_with_figures_and_passing_checks(
    make_experiment: Experiment, tmp_path: Path
) -> None:
    sae = hand_set_entry(write_hand_set_sae(tmp_path / "sae"))
    # A control of everything: an SAE of random directions in the other's shape, in the same tables.
    random = {**sae, "name": "random", "source": f"baseline://random?like={sae['source']}&k=1"}
    config = make_experiment(saes=[sae, random], scoring={"pilot_features": 4})
    with dg.DagsterInstance.ephemeral() as instance:
        lake = materialise_all(config, instance)
        for table in STAGES:
            assert lake.is_complete(table) == is_made(config, table), table
        record = instance.get_latest_materialization_event(dg.AssetKey(["tiny", "feature_routes"]))
        assert record and record.asset_materialization
        metadata = record.asset_materialization.metadata
        assert metadata["dagster/row_count"].value == N_FEATURES
        assert "data:image/png;base64," in str(metadata["plot"].value)
        assert "| sae | feature | route | reason |" in str(metadata["sample"].value)
        record = instance.get_latest_materialization_event(dg.AssetKey(["tiny", "sae_fit"]))
        assert record and record.asset_materialization
        figures = {f"{name} {figure}" for name in config.sae_names for figure in ("fvu", "l0")}
        assert record.asset_materialization.metadata.keys() >= figures, "of each SAE its own"
    rows = rows_of(lake, "from feature_routes where sae = 'hand-set' order by feature")
    routes = {row["feature"]: row["route"] for row in rows}
    # STOP and COLOUR fire on tokens of a set; ANIMAL has forty tokens, too many for a chosen rule.
    assert routes == {0: "rule", 1: "rule", 2: "dead", 3: "dense", 4: "llm", 5: "dead", 6: "dead", 7: "dead"}
    again = ("selected_features", "estimate")
    assert list(missing_steps(config)) == [("prepare", "hand-set", again), ("prepare", "random", again)]
    of_random = rows_of(lake, "from explanations join feature_routes using (sae, feature) where sae = 'random'")
    assert of_random and {row["sae"] for row in rows_of(lake, "from scores")} == {"hand-set", "random"}
    rhos = rows_of(lake, "from scorer_rhos")
    assert {row["sae"] for row in rhos} == {"hand-set", "random"} and {row["rho"] for row in rhos} == {0.1}
    assert all("of the 32 explanations" in row["reason"] for row in rhos)


@pytest.mark.whole
def test_a_second_lake_from_the_same_experiment_has_the_same_rows(
    prepared: Path, tiny_subject: Path, tmp_path: Path
) -> None:
    first = open_lake(load_config(prepared / "tiny.yaml"))
    machine = {"batch_tokens": 256, "flush_firings": 512}
    second = open_lake(load_config(prepare(tmp_path, tiny_subject, machine=machine) / "tiny.yaml"))
    assert first.root != second.root
    for table in ("feature_stats", "feature_rules", "selected_features", "example_index"):
        one, two = (pl.read_parquet(lake.path(table, sae="hand-set")) for lake in (first, second))
        assert one.equals(two), table


def test_an_asset_whose_input_is_missing_fails_with_one_sentence(make_experiment: Experiment) -> None:
    definitions = build_definitions(make_experiment())
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def("prepare").execute_in_process(
            instance=instance, partition_key="hand-set", raise_on_error=False
        )
    assert not result.success
    failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    sentence = failures[0].user_failure_data.description
    assert "table 'activation_shards' of SAE 'hand-set' is not complete" in sentence
    assert "materialise 'tiny/activation_shards' first" in sentence


@pytest.mark.whole
def test_a_broken_law_fails_its_check_and_stops_what_is_downstream(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv(LAKE_VARIABLE, str(tmp_path / "lake"))
    config = load_config(tmp_path / "tiny.yaml")
    with dg.DagsterInstance.ephemeral() as instance:
        lake = open_lake(config)
        # A later version of the stage loses a feature.
        rows = pl.read_parquet(lake.path("feature_routes", sae="hand-set"))
        broken = rows.filter(pl.col("feature") != 0).to_arrow()

        def lose_a_feature(lake: Lake, table: str, sae: str) -> object:
            names = [field.name for field in broken.schema]
            return lake.write(table, broken.select(names), sae=sae)

        monkeypatch.setattr("pipeline.make_table.make_table", lose_a_feature)
        result = (
            build_definitions(config)
            .resolve_job_def("prepare")
            .execute_in_process(
                instance=instance,
                partition_key="hand-set",
                asset_selection=[dg.AssetKey(["tiny", name]) for name in ("feature_routes", "selected_features")],
                raise_on_error=False,
            )
        )
    failed = [each.check_name for each in result.get_asset_check_evaluations() if not each.passed]
    assert failed == ["every_feature_routed_once"]
    assert not result.success
    made = {event.asset_key.path[-1] for event in result.get_asset_materialization_events()}
    assert made == {"feature_routes"}


def test_column_types_are_those_that_a_reader_sees_not_how_they_are_stored(make_experiment: Experiment) -> None:
    graph = build_definitions(make_experiment()).resolve_asset_graph()
    types = {
        column.type
        for key in graph.get_all_asset_keys()
        if key.path[-1] != "report"
        for column in graph.get(key).metadata["dagster/column_schema"].columns
    }
    assert {"string", "int32", "float64", "bool"} <= types
    assert not [each for each in types if "dictionary" in each]
