"""What every export has to do: a whole folder or none, of chosen explanations, which reads back."""

import csv
import gzip
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tiny import ANIMAL, COLOUR, STOP

from pipeline.commands import export
from pipeline.config import Config, load_config
from pipeline.errors import ConfigError, LakeError
from pipeline.exports import Export, exported_sae
from pipeline.exports.circuit_tracer import unpaired
from pipeline.exports.neuronpedia import check
from pipeline.features.lists import read_entries
from pipeline.lake import Lake
from pipeline.plugins import find_plugins
from pipeline.sources import recorded_lake

pytestmark = pytest.mark.whole

NAMES = sorted(find_plugins("exports"))
WORDS = "the token is ' stop'"

Write = Callable[..., Path]


@pytest.fixture
def write(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """A function that exports the finished lake, as if its SAE's hookpoint were of layer 2; it is of none."""
    monkeypatch.setattr(export, "exported_sae", lambda *given: exported_sae(*given)._replace(layer=2))

    def written(to: str, **options: Any) -> Path:
        return export.write_export(str(finished), to, out=str(tmp_path / "out"), **options)

    return written


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lines_of(folder: Path, table: str) -> list[dict[str, Any]]:
    [path] = folder.glob(f"v1/*/*/{table}/batch-0.jsonl.gz")
    return [json.loads(line) for line in gzip.open(path, "rt", encoding="utf-8")]


@pytest.mark.parametrize("name", NAMES)
def test_it_says_whose_explanations_it_wrote_and_writes_the_same_again(
    write: Write, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = files_below(write(name))
    theirs = "2 explanations by rule, 1 explanation by default"
    said = "every firing of hand-set" if name == "delphi_latents" else theirs
    assert capsys.readouterr().out.startswith(f"{name}: {said}, in ")
    assert len(first) > 1
    if name != "delphi_latents":
        assert any(WORDS.encode() in text or b"stop" in text for text in first.values())
    again = files_below(write(name.replace("_", "-")))
    assert again.keys() == first.keys()
    assert [name for name in first if not name.endswith(".gz") and first[name] != again[name]] == []


@pytest.mark.parametrize("name", NAMES)
def test_an_export_that_fails_leaves_the_one_before_and_nothing_else(
    write: Write, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files_below(write(name))
    module = find_plugins("exports")[name].load()
    real = module.write

    def failing(given: Export) -> None:
        real(given)
        raise LakeError("in the end")

    monkeypatch.setattr(module, "write", failing)
    with pytest.raises(LakeError, match="in the end"):
        write(name)
    assert files_below(tmp_path / "out") == before
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_a_folder_that_is_no_export_is_left_alone(write: Write, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    with pytest.raises(ConfigError, match=r"is not an export; choose another folder with (OUT=|--out)"):
        write("eleuther")
    assert files_below(tmp_path / "out") == {"thesis.tex": b"mine"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"to": ""}, "one of circuit-tracer, csv, delphi"),
        ({"to": "neuropedia"}, "no export is named 'neuropedia'; nearest: 'neuronpedia'"),
        ({"to": "csv", "explainer": "defaults"}, r"defaults: .*nearest: 'default'"),
        ({"to": "csv", "saes": ["other"]}, "no SAE 'other'"),
        ({"to": "circuit-tracer", "graph": "none.json"}, r"'none.json' cannot be read: No such file"),
    ],
)
def test_a_name_that_is_not_known_is_refused_before_anything_is_written(
    write: Write, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        write(**options)
    assert list(tmp_path.iterdir()) == []


def test_a_sae_without_a_layer_is_none_of_circuit_tracers(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="reads 'embed_tokens'; circuit-tracer needs one with a layer"):
        export.write_export(str(finished), "circuit-tracer", out=str(tmp_path / "out"))


def test_explanations_of_one_explainer_are_written_where_it_is_named(write: Write) -> None:
    folder = write("eleuther", explainer="default")
    explained = json.loads((folder / "hand-set.json").read_text())
    assert explained and all(WORDS not in words for words in explained.values())


@pytest.mark.parametrize(("name", "below"), [("eleuther", "hand-set.json"), ("delphi", "explanations")])
def test_explanations_read_back_as_a_list_of_ours(write: Write, name: str, below: str) -> None:
    entries = list(read_entries(write(name) / below, "explaining.imported"))
    assert {int(entry.feature) for entry in entries} == {STOP, COLOUR, ANIMAL}
    assert WORDS in {entry.words for entry in entries}


@pytest.mark.parametrize(
    ("aliases", "names"),
    [
        (("llama3.1-8b/15-llamascope-res-32k",), ("llama3.1-8b", "15-llamascope-res-32k", "llamascope-res-32k")),
        (("15-res", "google/gemma-2b/15", "gpt2-small/9-res_x"), ("gpt2-small", "9-res_x", "res_x")),
    ],
)
def test_neuronpedias_names_come_from_an_alias(
    make_experiment: Callable[..., Config], aliases: tuple[str, ...], names: tuple[str, ...]
) -> None:
    config = make_experiment()
    sae = exported_sae(config, config.saes[0].model_copy(update={"aliases": aliases}))
    assert (sae.model_id, sae.source_id, sae.set_name) == names


def test_an_alias_that_is_no_name_of_neuronpedias_is_refused_there_and_nowhere_else(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(path: str) -> Config:
        config = load_config(path)
        sae = config.saes[0].model_copy(update={"aliases": ("llama/3.1/15",)})
        return config.model_copy(update={"saes": (sae,)})

    monkeypatch.setattr(export, "load_config", load)
    with pytest.raises(ConfigError, match=r"'llama/3\.1/15' is not a Neuronpedia name"):
        write("neuronpedia")
    assert write("eleuther").is_dir()


def test_neuronpedias_names_that_are_derived_are_told_with_the_key_to_set(
    write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write("neuronpedia")
    [model] = (path.name for path in (folder / "v1").iterdir())
    said = " ".join(capsys.readouterr().err.split())
    assert f"warning: SAE 'hand-set' has no Neuronpedia name, so modelId '{model}'" in said
    assert "such as 'gpt2-small/9-res-jb', to saes.aliases" in said

    def load(path: str) -> Config:
        config = load_config(path)
        sae = config.saes[0].model_copy(update={"aliases": ("gpt2-small/9-res-jb",)})
        return config.model_copy(update={"saes": (sae,)})

    monkeypatch.setattr(export, "load_config", load)
    assert (write("neuronpedia") / "v1" / "gpt2-small" / "9-res-jb").is_dir()
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize("name", NAMES)
def test_results_of_another_config_are_not_written_as_none(
    write: Write, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(path: str) -> Config:
        config = load_config(path)
        explaining = config.explaining.model_copy(update={"n_examples": 7})
        return config.model_copy(update={"explaining": explaining})

    monkeypatch.setattr(export, "load_config", load)
    if name == "delphi_latents":  # firings do not depend on what explainers are shown
        assert write(name).is_dir()
        return
    words = r"'explanations' in '.*' were made by another config or another version .*; run again \(recorded"
    with pytest.raises(LakeError, match=words):
        write(name)
    assert list(tmp_path.iterdir()) == [] and capsys.readouterr().out == ""


def test_an_upload_of_long_windows_is_read_back(finished: Path, write: Write) -> None:
    folder, config = write("neuronpedia"), load_config(finished)
    [upload] = folder.glob("uploads/*/*.json")
    upload.write_text(upload.read_text().replace("{", "{" + " " * (17 << 20), 1))  # one object, above 16 MiB
    lake = recorded_lake(config)
    with lake.connect() as connection:
        check(Export(lake, connection, folder, (exported_sae(config, config.saes[0]),)))


@pytest.mark.parametrize("name", NAMES)
def test_only_the_tables_that_are_read_are_fetched(
    write: Write, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: set[str] = set()
    monkeypatch.setattr(Lake, "fetch_tables", lambda _lake, tables, *_: fetched.update(tables))
    write(name)
    reads_firings = {"circuit_tracer", "delphi", "delphi_latents", "neuronpedia"}
    assert {"explanations", "feature_routes"} <= fetched
    assert ("activations" in fetched) == (name in reads_firings)


def test_neuronpedias_lines_have_every_feature_and_windows_and_words_of_the_explained(write: Write) -> None:
    folder = write("neuronpedia")
    features, windows, words = (lines_of(folder, name) for name in ("features", "activations", "explanations"))
    assert [line["index"] for line in features] == [str(number) for number in range(8)]
    assert {tuple(line) for line in features} == {tuple(features[0])}  # the importer reads the first line's keys
    assert sum(features[STOP]["freq_hist_data_bar_heights"]) > 0
    assert features[2]["freq_hist_data_bar_heights"] == []  # it never fires
    assert all(line["values"][line["maxValueTokenIndex"]] == line["maxValue"] for line in windows)
    assert {line["index"]: line["description"] for line in words}[str(STOP)] == WORDS
    [path] = folder.glob("uploads/*/*.json")
    upload = json.loads(path.read_text())
    assert [each["index"] for each in upload["features"]] == [STOP, COLOUR, ANIMAL]
    assert upload["features"][0]["explanations"][0]["methodName"] == "latentlake_rule"


def test_delphis_scores_say_what_was_asked_and_answered(write: Write) -> None:
    folder = write("delphi")
    rows = json.loads((folder / "scores" / "detection" / f"embed_tokens_latent{STOP}.txt").read_text())
    assert {row["distance"] for row in rows} >= {-1, 1}
    for row in rows:
        assert len(row["str_tokens"]) == len(row["activations"])
        assert row["activating"] == any(row["activations"]) == (row["distance"] > 0)
        assert row["correct"] == (row["prediction"] == row["activating"])
    assert (folder / "scores" / "fuzz").is_dir()


def test_csv_and_parquet_hold_the_same_rows_and_every_column_is_in_the_dictionary(write: Write) -> None:
    csvs = files_below(write("csv"))
    folder = write("parquet")
    with (folder / "dictionary.csv").open(newline="") as lines:
        told = {(row["file"], row["column"]): row["meaning"] for row in csv.DictReader(lines)}
    for path in sorted(folder.glob("*.parquet")):
        rows = pl.read_parquet(path)
        same = pl.read_csv(csvs[f"{path.stem}.csv"], infer_schema=False)
        assert (same.columns, same.height) == (rows.columns, rows.height)
        assert all(told[path.stem, column] for column in rows.columns)
        for column, kind in rows.schema.items():
            if isinstance(kind, pl.List) and rows[column].count():
                assert json.loads(same[column].drop_nulls()[0]) == rows[column].drop_nulls()[0].to_list()


@pytest.fixture
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small graph as circuit-tracer writes it: two features of layer 2, one of layer 3, and a token."""
    from math import comb

    def node(layer: int, feature: int) -> dict[str, Any]:
        cantor = comb(layer + feature + 1, 2) + feature
        name = f"{layer}_{feature}_1"
        kind = "cross layer transcoder"
        return {"node_id": name, "feature": cantor, "layer": str(layer), "ctx_idx": 1, "feature_type": kind,
                "jsNodeId": name, "clerp": "old"}  # fmt: skip

    token = {"node_id": "E_5_0", "feature": 0, "layer": "E", "ctx_idx": 0, "feature_type": "embedding",
             "jsNodeId": "E_5-0", "clerp": ""}  # fmt: skip
    told = {"slug": "stops", "scan": "owner/set", "transcoder_list": [], "prompt_tokens": ["a"], "prompt": "a",
            "node_threshold": 0.8, "schema_version": 1}  # fmt: skip
    params = {"pinnedIds": [], "supernodes": [], "linkType": "both", "clickedId": "", "sg_pos": ""}
    nodes = [node(2, STOP), node(2, 2), node(3, STOP), token]
    path = tmp_path_factory.mktemp("graph") / "stops.json"
    path.write_text(json.dumps({"metadata": told, "qParams": params, "nodes": nodes, "links": []}))
    return path


def test_a_graphs_nodes_are_labelled_with_what_is_known_of_their_features(write: Write, graph: Path) -> None:
    folder = write("circuit-tracer", graph=str(graph))
    labelled = json.loads((folder / "stops.json").read_text())
    assert [node["clerp"] for node in labelled["nodes"]] == [WORDS, "old", "old", ""]
    names = {path.stem for path in folder.glob("features/tiny/*.json")}
    assert {unpaired(int(name)) for name in names} >= {(2, STOP), (2, COLOUR), (2, ANIMAL)}
    assert labelled["metadata"]["scan"] == "./data/features/tiny"  # as its server finds them


READ = """
import json, sys, urllib.request
from pathlib import Path
from circuit_tracer.frontend import feature_models, graph_models, local_server
folder = Path(sys.argv[1])
graph = graph_models.Model.model_validate_json((folder / "stops.json").read_text())
server = local_server.serve(data_dir=str(folder), port=int(sys.argv[2]))
try:
    url = f"http://localhost:{sys.argv[2]}/"
    listed = json.load(urllib.request.urlopen(url + "data/graph-metadata.json"))
    scan, cantor = listed["graphs"][0]["scan"], graph.nodes[0].feature
    text = urllib.request.urlopen(f"{url}{scan.removeprefix('./')}/{cantor}.json").read()
finally:
    server.stop()
feature = feature_models.Model.model_validate_json(text)
assert graph_models._cantor_pairing(2, feature.index) == cantor
print(graph.nodes[0].clerp, "|", feature.index, len(feature.examples_quantiles[0].examples))
"""


owners = pytest.mark.skipif("LATENTLAKE_OWNERS_PYTHON" not in os.environ, reason="no Python with these is named")

SEND = """
import json, sys
from pathlib import Path
from neuronpedia.np_activation import Activation
from neuronpedia.np_explanation import Explanation
from neuronpedia.np_feature import Feature, Logit
from neuronpedia.requests.feature_request import FeatureRequest

def feature(row, *of):
    texts = [(each["text"], each["methodName"], each["modelName"]) for each in row["explanations"]]
    return Feature(
        *of[:2], row["index"], row["density"],
        *([Logit(**token) for token in row[end]] for end in ("topLogits", "bottomLogits")),
        [Explanation(*of, row["index"], *text) for text in texts],
        [Activation(*of, row["index"], **window) for window in row["activations"]],
    )

class Kept(FeatureRequest):
    def send_request(self, method, uri, json):
        return json

body = json.loads(Path(sys.argv[1]).read_text())
of = body["modelId"], body["source"]
sent = Kept(api_key="none").upload_batch(*of, [feature(row, *of) for row in body["features"]])
assert sent == body
"""


@pytest.mark.owners
@owners
def test_neuronpedias_own_client_would_send_what_is_written(write: Write) -> None:
    [upload] = write("neuronpedia").glob("uploads/*/*.json")
    command = [os.environ["LATENTLAKE_OWNERS_PYTHON"], "-c", SEND, str(upload)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.owners
@owners
def test_circuit_tracers_own_models_and_server_read_the_files(write: Write, graph: Path, free_port: int) -> None:
    folder = write("circuit-tracer", graph=str(graph))
    command = [os.environ["LATENTLAKE_OWNERS_PYTHON"], "-c", READ, str(folder), str(free_port)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{WORDS} | {STOP} ")


@pytest.fixture
def free_port() -> int:
    import socket

    with socket.socket() as any_socket:
        any_socket.bind(("127.0.0.1", 0))
        port: int = any_socket.getsockname()[1]
        return port


@pytest.mark.parametrize(
    ("cantor", "pair"), [(0, (0, 0)), (1, (1, 0)), (2, (0, 1)), (8589869056 + 7, (131064, 7)), (4, (1, 1))]
)
def test_a_cantor_pairing_is_undone(cantor: int, pair: tuple[int, int]) -> None:
    layer, feature = pair
    assert (layer + feature) * (layer + feature + 1) // 2 + feature == cantor
    assert unpaired(cantor) == pair
