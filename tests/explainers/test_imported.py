"""Imported explanations: every kind of file, rows that are left out, and files that are refused."""

import gzip
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from tiny import hand_set_entry, write_hand_set_sae

from pipeline.config import Config
from pipeline.errors import ConfigError
from pipeline.explainers import imported
from pipeline.tables.definitions import plugin_versions


@pytest.fixture
def config_of(make_experiment: Any, tmp_path: Path) -> Any:
    """A config with two SAEs, of 8 and of 64 features, and the explanations at a path."""
    entry = hand_set_entry(write_hand_set_sae(tmp_path / "sae"))
    deep = {"name": "deep", "source": "none", "hookpoint": "layers.1", "n_features": 64, "aliases": ["1-res"]}

    def make(path: Path | None, **selection: Any) -> Config:
        given = {} if path is None else {"imported": {"path": str(path)}}
        explaining = {"explainers": ["imported"], **given}
        return make_experiment(saes=[entry, deep], explaining=explaining, selection=selection)

    return make


def words(config: Config) -> dict[tuple[str, int], str]:
    return imported._read(config).words


def odd_rows_of(config: Config) -> list[str]:
    return [f"{location} ({reason})" for location, reason in imported._read(config).odd_rows]


LIST = [
    {"sae": "deep", "feature": 3, "explanation": "animals"},
    {"sae": "hand-set", "feature": "7", "explanation": "two\nlines <<marked>>"},
]


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.csv", 'sae,feature,explanation\ndeep,3,animals\nhand-set,7,"two\nlines <<marked>>"\n'),
        ("a.json", json.dumps(LIST)),
        ("a.jsonl", "\n".join(map(json.dumps, LIST))),
    ],
)
def test_a_list_with_words_is_read(config_of: Any, tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert words(config_of(tmp_path / name)) == {
        ("deep", 3): "animals", ("hand-set", 7): "two lines <<marked>>",
    }  # fmt: skip


def test_neuronpedias_export_is_read(config_of: Any, tmp_path: Path) -> None:
    rows = [{"modelId": "m", "layer": "1-res", "index": str(i), "description": f"words {i}"} for i in (3, 5)]
    (tmp_path / "export").mkdir()
    lines = "\n".join(map(json.dumps, rows)).encode()
    (tmp_path / "export" / "batch-0.jsonl.gz").write_bytes(gzip.compress(lines))
    assert words(config_of(tmp_path / "export")) == {("deep", 3): "words 3", ("deep", 5): "words 5"}


def test_delphis_folder_is_read(config_of: Any, tmp_path: Path) -> None:
    folder = tmp_path / "explanations"
    folder.mkdir()
    (folder / "layers.1_latent12.txt").write_text(json.dumps("animals"))
    (folder / "layers.9_latent12.txt").write_text(json.dumps("another place"))
    config = config_of(folder)
    assert words(config) == {("deep", 12): "animals"}
    assert odd_rows_of(config) == ["layers.9_latent12.txt (no SAE is called layers.9)"]


def test_folders_of_delphis_older_versions_are_read(config_of: Any, tmp_path: Path) -> None:
    folder = tmp_path / "explanations" / "run"
    folder.mkdir(parents=True)
    (folder / ".model.layers.1_feature12.txt").write_text(json.dumps("animals"))
    (folder / "layers.1_feature13.txt").write_bytes(b'"caf\xe9"')
    config = config_of(folder.parent)
    assert words(config) == {("deep", 12): "animals"}
    assert odd_rows_of(config) == ["run/layers.1_feature13.txt (no JSON)"]


def test_a_row_names_its_sae_or_else_its_hookpoint(config_of: Any, tmp_path: Path) -> None:
    rows = ["sae,hookpoint,feature,explanation", ",layers.1,3,animals", "hand-set,layers.1,4,plants", ",,5,stones"]
    (tmp_path / "a.csv").write_text("\n".join(rows))
    config = config_of(tmp_path / "a.csv")
    assert words(config) == {("deep", 3): "animals", ("hand-set", 4): "plants"}
    assert odd_rows_of(config) == ["line 4 (names no SAE)"]


def test_annotations_of_a_circuit_are_read_as_a_spreadsheet_writes_them(config_of: Any, tmp_path: Path) -> None:
    table = "Component\tLayer\tFeature\tAnnotation\nres\t1.0\t5.0\tcafés\nembed\t\t6\tplants\n1-res\t\t7\tstones\n"
    (tmp_path / "a.tsv").write_bytes(table.encode("utf-16"))
    config = config_of(tmp_path / "a.tsv")
    saes = (config.saes[0], config.saes[1].model_copy(update={"aliases": ("res_1", "embed", "1-res")}))
    assert words(config.model_copy(update={"saes": saes})) == {
        ("deep", 5): "cafés", ("deep", 6): "plants", ("deep", 7): "stones",
    }  # fmt: skip


def test_another_encoding_is_refused_with_where_it_is_seen(config_of: Any, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("sae,feature,explanation\ndeep,3,cafés\n".encode("cp1252"))
    with pytest.raises(ConfigError, match=r"is not UTF-8 \(byte 34 is 0xe9\); save it as UTF-8"):
        words(config_of(tmp_path / "a.csv"))


def test_one_object_that_is_no_list_is_said_to_have_its_columns(config_of: Any, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"release": "x", "features": LIST}, indent=1))
    with pytest.raises(ConfigError, match="has the columns release, features; write"):
        imported.check(config_of(tmp_path / "a.json"))


def test_a_file_for_each_sae_is_read_by_its_name(config_of: Any, tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text(json.dumps({"3": "animals", "64": "beyond"}))
    config = config_of(tmp_path / "deep.json")
    assert words(config) == {("deep", 3): "animals"}
    assert odd_rows_of(config) == ["feature 64 (no feature 64)"]


def test_rows_that_are_left_out_are_counted_and_named(
    config_of: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.csv"
    long = "x" * 6000
    path.write_text(f"sae,feature,explanation\ndeep,3,a\ndeep,64,b\ndepp,3,c\ndeep,4,\ndeep,3,d\ndeep,5,{long}\n")
    config = config_of(path, quotas=None)
    with caplog.at_level(logging.WARNING):
        imported.check(config)
    assert words(config) == {("deep", 3): "a"}
    [record] = caplog.records
    for part in (
        "5 rows", "line 3 (no feature 64)", "line 4 (no SAE is called depp)", "line 5 (no words)",
        "line 6 (feature 3 again)", "line 7 (6,000 characters, over 5,000)",
    ):  # fmt: skip
        assert part in record.getMessage()


@pytest.mark.parametrize(
    "name, content, odd_rows",
    [
        (
            "a.csv",
            "sae,feature,explanation\ndeep,3,the token, or so\ndeep\ndeep,5,animals,\n",
            ["line 2 (more cells than columns: quote a text that holds ',')", "line 3 (names no feature)"],
        ),
        (
            "a.csv",
            'sae,feature,explanation\ndeep,5,animals\ndeep,6,"plants\ndeep,7,stones\n',
            ["line 3 (a quote opens there and is not closed)"],
        ),
        (
            "a.jsonl",
            '{"sae": "deep", "fea\n[1]\n{"sae": "deep", "feature": [5]}\n{"sae": {}}\n'
            '{"sae": "deep", "feature": 5, "explanation": "animals"}\r\n'
            '{"sae": "deep", "feature": 6, "description": 7}',
            [
                "line 1 (no JSON)",
                "line 2 (not an object)",
                "line 3 (no feature [5])",
                "line 4 (names no SAE)",
                "line 6 (no words)",
            ],
        ),
        (
            "deep.json",
            '{"5": "animals", "6": null, "about": "a file", "64": "beyond"}',
            ["feature 6 (no words)", "feature about (no feature about)", "feature 64 (no feature 64)"],
        ),
    ],
)
def test_a_row_that_cannot_be_read_is_named_and_those_after_it_are_read(
    config_of: Any, tmp_path: Path, name: str, content: str, odd_rows: list[str]
) -> None:
    (tmp_path / name).write_text(content)
    config = config_of(tmp_path / name)
    assert words(config) == {("deep", 5): "animals"}
    assert odd_rows_of(config) == odd_rows


def test_delphis_files_that_hold_no_words_are_named(config_of: Any, tmp_path: Path) -> None:
    folder = tmp_path / "explanations"
    folder.mkdir()
    for feature, content in enumerate(['"animals"', "", "null"], start=12):
        (folder / f"layers.1_latent{feature}.txt").write_text(content)
    config = config_of(folder)
    assert words(config) == {("deep", 12): "animals"}
    odd_rows = ["layers.1_latent13.txt (no JSON)", "layers.1_latent14.txt (no words)"]
    assert odd_rows_of(config) == odd_rows


def test_a_line_of_json_may_hold_what_else_ends_a_line(config_of: Any, tmp_path: Path) -> None:
    row = {"sae": "deep", "feature": 3, "explanation": "two\u2028lines\u0085"}
    (tmp_path / "a.jsonl").write_text(json.dumps(row, ensure_ascii=False), encoding="utf-8")
    assert words(config_of(tmp_path / "a.jsonl")) == {("deep", 3): "two lines"}


@pytest.mark.parametrize(
    "name, content, says",
    [
        (None, "", r"needs explaining\.imported\.path"),
        ("none.csv", None, "no file"),
        (
            "a.csv",
            "sae,feature,explanation\nother,1,x\n",
            r"explains no feature of the SAEs.*no SAE is called other",
        ),
        ("a.csv", "", "it is empty"),
        (
            "a.csv",
            "layer,feature_id,label\n9,1,x\n9,2,y\n",
            r"has the columns layer, feature_id, label; .* the columns sae or hookpoint, feature, and explanation",
        ),
        (
            "a.csv",
            "sae,feature,label\ndeep,1,x\ndeep,2,y\ndeep,3,z\n",
            r": line 2 and 2 more \(no words\); write .* the columns .* explanation",
        ),
        ("a.txt", "words", r"is not a \.csv"),
        ("a.jsonl.gz", b"no gzip", "cannot be read"),
        ("a.json", '[{"sae": "deep", "feature": 3, "explanation": NaN}]', "no words"),
    ],
)
def test_what_explains_nothing_is_refused(
    config_of: Any, tmp_path: Path, name: str | None, content: str | bytes | None, says: str
) -> None:
    if name and content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=says) as caught:
        imported.check(config_of(tmp_path / name if name else None))
    assert "\n" not in str(caught.value)


def test_another_content_or_alias_is_another_version(config_of: Any, tmp_path: Path) -> None:
    def version(config: Config) -> str:
        return plugin_versions(config, "explainers")["imported"]

    path = tmp_path / "a.csv"
    path.write_text("sae,feature,explanation\ndeep,3,a\n")
    config = config_of(path)
    before = version(config)
    assert version(config_of(path)) == before
    other = config.saes[1].model_copy(update={"aliases": ("2-res",)})
    assert version(config.model_copy(update={"saes": (config.saes[0], other)})) != before
    path.write_text("sae,feature,explanation\ndeep,3,b\n")
    assert version(config_of(path)) != before


def test_an_alias_changes_no_explanation_that_comes_from_no_file(make_experiment: Any) -> None:
    config = make_experiment()
    named = config.saes[0].model_copy(update={"aliases": ("gpt2-small/9-res-jb",)})
    aliased = config.model_copy(update={"saes": (named,)})
    assert plugin_versions(aliased, "explainers") == plugin_versions(config, "explainers")


def test_a_file_that_is_renamed_explains_another_feature_in_another_version(
    config_of: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "explanations"
    folder.mkdir()
    file = folder / "layers.1_latent12.txt"
    file.write_text(json.dumps("animals"))
    config = config_of(folder)
    before = plugin_versions(config, "explainers")["imported"]
    assert words(config) == {("deep", 12): "animals"}
    file.rename(folder / "layers.1_latent13.txt")
    assert words(config) == {("deep", 13): "animals"}
    assert plugin_versions(config, "explainers")["imported"] != before


def test_quotas_that_leave_explanations_unscored_are_said_and_a_list_of_the_same_file_takes_all(
    config_of: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("sae,feature,explanation\ndeep,3,a\ndeep,4,b\n")
    with caplog.at_level(logging.WARNING):
        imported.check(config_of(path, features=str(path)))
        assert not caplog.records
        imported.check(config_of(path, features=str(path), quotas={"llm": 1}))
        assert not caplog.records  # of these quotas the list's own check warns
        imported.check(config_of(path))
    [record] = caplog.records
    for part in ("explains 2 features", "llm: 16, rule: 8 in each batch of 1,024", "set selection.features"):
        assert part in record.getMessage()
    assert record.getMessage().endswith("to the same file")


def test_advice_leaves_out_what_the_config_has_already(
    config_of: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, other = tmp_path / "a.csv", tmp_path / "b.csv"
    for each in (path, other):
        each.write_text("sae,feature,explanation\ndeep,3,a\n")
    with caplog.at_level(logging.WARNING):
        imported.check(config_of(path, features=str(other)))
        imported.check(config_of(path, quotas={"llm": 1}))
    of_list, of_quotas = [record.getMessage() for record in caplog.records]
    assert f"selection.features ('{other}') selects" in of_list and of_list.endswith("to the same file")
    assert of_quotas.endswith("to the same file and selection.quotas to null")


def test_spaces_in_the_tokens_of_a_rule_stay(config_of: Any, tmp_path: Path) -> None:
    said = [
        ("  the token is '   ' or \"\\n\"\n", "the token is '   ' or \"\\n\""),
        ("the token\nis '\xa0'", r"the token is '\u00a0'"),
        ("two   spaces\n", "two spaces"),
    ]
    path = tmp_path / "deep.json"
    path.write_text(json.dumps({feature: given for feature, (given, _) in enumerate(said)}))
    assert words(config_of(path)) == {("deep", feature): kept for feature, (_, kept) in enumerate(said)}
