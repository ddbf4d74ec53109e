"""What a config wants of features: lists in every format, rows that name none, conditions that do not work."""

import json
import logging

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny import hand_set_entry, write_hand_set_sae

from pipeline.errors import ConfigError
from pipeline.features.wanted import check_selection, read_feature_list


@pytest.fixture
def listing(make_experiment, tmp_path):
    """A config with two SAEs, of 8 and of 64 features at embed_tokens and layers.1, and a list of some text."""

    def make(name, content, **selection):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        entry = hand_set_entry(write_hand_set_sae(tmp_path / "sae"))
        deep = {"name": "deep", "source": "none", "hookpoint": "layers.1", "n_features": 64}
        return make_experiment(saes=[entry, deep], selection={"features": str(path), **selection})

    return make


def read(config):
    listed = read_feature_list(config)
    return [tuple(row.values()) for row in listed.features.to_pylist()], listed.odd_rows


def test_rows_that_name_no_feature_are_named_with_their_lines_and_the_rest_is_taken(listing):
    names = ["3", "64", "-1", "12a", "1_2", "3.0"]  # 1_2: layer 1, feature 2
    config = listing("d.csv", " hookpoint , feature\n" + "".join(f"layers.1 ,{name}\n" for name in names))
    odd = ["line 3 (64)", "line 4 (-1)", "line 5 (12a)", "line 6 (1_2)"]
    assert read(config) == ([("deep", 3, 0)], odd)


@pytest.mark.parametrize("name, content, says", [
    ("a.csv", "sae,feature,Feature\ndeep,3,4\n", "the column 'feature' is there twice"),
    ("a.csv", "sae,feature,priority\ndeep,3,99999999999\n", "line 2 (priority 99999999999)"),
    ("a.json", '[{"sae": "deep", "feature": true}]', "row 1 (True)"),
    ("a.json", "[" * 3000, "cannot be read"),
])  # fmt: skip
def test_a_list_that_could_be_misread_is_refused(listing, name, content, says):
    with pytest.raises(ConfigError) as caught:
        read(listing(name, content))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "name, content",
    [
        ("list.csv", "sae,feature,priority\ndeep,5,2\nhand-set,7,\nother,1,\n\ndeep,1.5,\n"),
        ("list.tsv", "sae\tfeature\tpriority\ndeep\t5\t2\nhand-set\t7\t\nother\t1\t\n\ndeep\t1.5\t\n"),
        ("list.CSV", "\ufeffsae;feature;priority\r\ndeep;5;2\r\nhand-set;7;\r\nother;1;\r\n\r\ndeep;1.5;\r\n"),
        (
            "list.json",
            json.dumps(
                [
                    {"sae": "deep", "feature": 5, "priority": 2},
                    {"sae": "hand-set", "feature": "7"},
                    {"sae": "other", "feature": 1},
                    {"sae": "deep", "feature": 1.5},
                ]
            ),
        ),
        (
            "list.jsonl",
            '{"sae": "deep", "feature": 5.0, "priority": "2"}\n{"sae": "hand-set", "feature": 7}\n'
            '{"sae": "other", "feature": 1}\n\n{"sae": "deep", "feature": 1.5}\n',
        ),
    ],
)
def test_every_format_is_read_alike(listing, name, content):
    features, odd_rows = read(listing(name, content))
    assert features == [("deep", 5, 2), ("hand-set", 7, 0)]
    place = "row" if name.endswith(".json") else "line"
    assert [row.partition(" ")[0] for row in odd_rows] == [place, place]
    assert [row.partition(" (")[2] for row in odd_rows] == ["other)", "1.5)"]


@pytest.mark.parametrize("name", ["list.json", "list.parquet", "list.csv"])
def test_a_priority_of_0_is_one(listing, tmp_path, name):
    rows = [{"sae": "deep", "feature": 3, "priority": 0}, {"sae": "deep", "feature": 4, "priority": None}]
    lines = ["sae,feature,priority", "deep,3,0", "deep,4,"]
    config = listing(name, json.dumps(rows) if name == "list.json" else "\n".join(lines), priority=5)
    if name == "list.parquet":
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
    assert read(config) == ([("deep", 3, 0), ("deep", 4, 5)], [])


def test_a_parquet_list_is_read(listing, tmp_path):
    config = listing("list.parquet", b"")
    rows = {"hookpoint": ["embed_tokens", "layers.1"], "feature": [8, 8]}
    pq.write_table(pa.table(rows), tmp_path / "list.parquet")
    assert read(config) == ([("deep", 8, 0)], ["row 1 (8)"])


@pytest.mark.parametrize(
    "name, content",
    [
        (
            "neuronpedia.json",
            json.dumps(
                [
                    {"modelId": "tiny", "layer": "1-res", "index": "3", "description": "x", "pos_str": ["a"]},
                    {"modelId": "other", "layer": "1-res", "index": 5},
                    {"modelId": "tiny", "layer": "2-res", "index": 5},
                ]
            ),
        ),
        (
            "circuits.jsonl",
            '{"Component": "resid", "Layer": "1", "Feature": "3", "Name": "resid_1/3"}\n'
            '{"Component": "Component", "Layer": "", "Feature": "", "Name": "Name"}\n'
            '{"Name": "resid_1/5", "Annotation": "x"}\n{"Name": "resid_9/5"}\n',
        ),
        (
            "circuits_without_names.jsonl",
            '{"Component": "resid", "Layer": "1", "Feature": "3", "Annotation": "x"}\n'
            '{"Component": "Component", "Layer": "Layer", "Feature": "Feature"}\n'
            '{"Component": "resid", "Layer": 1, "Feature": 5, "Name": ""}\n'
            '{"Component": "resid", "Layer": "9", "Feature": "5"}\n',
        ),
        ("list.csv", "sae,feature\nresid_1,3\ntiny/1-res,5\nresid_9,5\n"),
    ],
)
def test_an_sae_is_found_by_the_names_that_others_give_it(listing, name, content):
    config = listing(name, content)
    deep = config.saes[1].model_copy(update={"aliases": ("resid_1", "tiny/1-res", "1-res")})
    features, odd_rows = read(config.model_copy(update={"saes": (config.saes[0], deep)}))
    assert features == [("deep", 3, 0), ("deep", 5, 0)]
    assert len(odd_rows) == 1 and ("2-res" in odd_rows[0] or "resid_9" in odd_rows[0])


@pytest.mark.parametrize(
    "name, content, says",
    [
        ("a.csv", "layer,index\n9-res-jb,1124\n", ("line 2 (9-res-jb)", "unless saes.aliases names it")),
        ("a.jsonl", '{"Layer": "5", "Feature": "3036"}\n', ("columns Layer, Feature", "sae or hookpoint")),
        (
            "a.csv",
            "hookpoint,feature\nmodel.layers.2,3\nmodel.layers.2,5\n",
            ("2 rows name no feature", "line 2 (model.layers.2)", "nearest hookpoint: 'layers.1'"),
        ),
        ("a.csv", "sae,feature\ndepp,3\n", ("1 row names no feature", "nearest sae: 'deep'")),
        ("a.csv", "sae,feature\n" + "deep,64\n" * 30, ("30 rows name no feature", "line 11 (64) and 20 more")),
        ("a.csv", "sae,feature\n", ("has the columns none",)),
        ("a.csv", b"sae,feature\n\xff\xfe\n", ("is not UTF-8 (byte 12 is 0xff)", "save it as")),
        ("a.json", "[{]", ("cannot be read",)),
        ("a.json", "[1, 2]", ("2 rows name no feature: row 1 (not an object)", "none is left")),
        ("a.parquet", "no Parquet", ("cannot be read",)),
        ("a.xlsx", "", ("is not a .csv",)),
    ],
)
def test_a_list_of_no_feature_is_refused_with_what_is_wrong(listing, name, content, says):
    with pytest.raises(ConfigError) as caught:
        check_selection(listing(name, content))
    message = str(caught.value)
    assert all(part in message for part in says), message
    assert "\n" not in message


def test_a_list_that_is_not_there_is_named(make_experiment):
    with pytest.raises(ConfigError, match=r"no file 'none.csv'"):
        check_selection(make_experiment(selection={"features": "none.csv"}))


def test_odd_rows_are_logged_once_before_the_run(listing, caplog):
    with caplog.at_level(logging.WARNING):
        check_selection(listing("a.csv", "sae,feature\ndeep,3\ndeep,64\n"))
    [record] = caplog.records
    assert "1 row names no feature: line 3 (64)" in record.getMessage()


def test_more_odd_rows_than_a_sentence_holds_are_all_in_a_file(listing, caplog):
    config = listing("a.csv", "sae,feature\ndeep,3\n" + "deep,64\n" * 30)
    with caplog.at_level(logging.WARNING):
        check_selection(config)
    path = config.lake_folder / "rows_without_feature.txt"
    assert (
        f"and 20 more of '{config.selection.features}', all listed in '{path}'" in caplog.records[0].getMessage()
    )
    assert path.read_text().splitlines() == [f"line {number} (64)" for number in range(3, 33)]


def test_a_list_is_taken_whole_unless_quotas_are_set_which_is_said(listing, caplog):
    with caplog.at_level(logging.WARNING):
        whole = listing("a.csv", "sae,feature\ndeep,3\ndeep,4\n")
        check_selection(whole)
        assert whole.selection.quotas is None and not caplog.records
        check_selection(listing("a.csv", "sae,feature\ndeep,3\ndeep,4\n", quotas={"llm": 1}, batch_size=64))
    [record] = caplog.records
    assert (
        "names 2 features, of which selection.quotas (llm: 1 in each batch of 64) selects" in record.getMessage()
    )


def test_a_list_is_made_in_one_run_unless_a_number_of_batches_is_set(listing, make_experiment):
    assert listing("a.csv", "sae,feature\ndeep,3\n").selection.batches_per_run is None
    assert listing("a.csv", "sae,feature\ndeep,3\n", batches_per_run=2).selection.batches_per_run == 2
    assert make_experiment().selection.batches_per_run == 1


@pytest.mark.parametrize("spelling", ["resid_post.1", "blocks.1.hook_resid_post", "model.layers.1", "resid_pre.2"])
def test_a_hookpoint_is_found_in_every_spelling_that_a_config_may_use(listing, tiny_subject, spelling):
    config = listing("a.csv", f"hookpoint,feature\n{spelling},3\nlayers.0,4\n")
    config = config.model_copy(update={"subject": config.subject.model_copy(update={"model": str(tiny_subject)})})
    assert read(config) == ([("deep", 3, 0)], ["line 3 (layers.0)"])
    short = config.saes[1].model_copy(update={"hookpoint": "resid_post.1"})
    assert read(config.model_copy(update={"saes": (config.saes[0], short)}))[0] == [("deep", 3, 0)]


def test_a_model_that_is_asked_about_less_than_a_list_is_said(listing, caplog):
    def warned(**sections):
        caplog.clear()
        config = listing("a.csv", "sae,feature\ndeep,3\ndeep,4\ndeep,20\n", batch_size=16)
        given = {name: getattr(config, name).model_copy(update=keys) for name, keys in sections.items()}
        check_selection(config.model_copy(update=given))
        return [record.getMessage() for record in caplog.records]

    with caplog.at_level(logging.WARNING):
        said = warned(scoring={"max_features": 1})
        assert len(said) == 1 and "names 3 features, but with scoring.max_features: 1" in said[0]
        assert "a model is asked about 2 of them at most, 1 in each batch of 16 (by detection, fuzzing)" in said[0]
        [said] = warned(explaining={"max_features": 0})
        assert "explaining.max_features: 0 a model is asked about 0 of them at most" in said
        assert not warned(scoring={"max_features": 2}, explaining={"max_features": 0, "explainers": ("rule",)})


@pytest.mark.parametrize("where", ["random() < 0.1", "sae in (select sae from feature_stats where RANDOM() < 1)"])
def test_a_condition_that_draws_anew_is_refused(make_experiment, where):
    with pytest.raises(ConfigError, match=r"random\(\) returns a different value .* hash\(feature\) % 10 = 0"):
        check_selection(make_experiment(selection={"where": where}))
    check_selection(make_experiment(selection={"where": "hash(feature) % 10 = 0"}))


@pytest.mark.parametrize(
    "where, says",
    [
        ("densty > 0.001", "density"),
        ("density >", "syntax"),
        ("route = 7 and density > 'x'", "x"),
    ],
)
def test_a_condition_that_does_not_work_is_refused(make_experiment, where, says):
    with pytest.raises(ConfigError) as caught:
        check_selection(make_experiment(selection={"where": where}))
    assert f"'{where}' does not work" in str(caught.value) and says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_condition_that_works_is_let_through(make_experiment):
    check_selection(make_experiment(selection={"where": "density > 0.001 and route in ('llm', 'rule')"}))
