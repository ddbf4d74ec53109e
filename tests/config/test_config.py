"""The experiment's YAML file: what loads, and the one sentence for what does not."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from pipeline import config as config_module
from pipeline.config import Config, ScoringConfig, Section, load_config
from pipeline.config.file import _ALLOWED
from pipeline.errors import ConfigError

FOLDER = Path(__file__).parents[2] / "config"
SHIPPED = sorted(set(FOLDER.glob("*.yaml")) - {FOLDER / "prices.yaml"})
SECTIONS = [
    each
    for each in vars(config_module).values()
    if isinstance(each, type) and issubclass(each, Section) and each is not Section
]
GOOD: dict[str, Any] = {
    "name": "tiny",
    "subject": {"model": "some/model"},
    "saes": [{"name": "one", "source": "folder", "hookpoint": "layers.1", "n_features": 8}],
    "corpus": {"sources": [{"kind": "jsonl", "path": "corpus.jsonl"}]},
}


def write(folder: Path, change: Callable[[dict[str, Any]], object] = lambda _: None) -> Path:
    values = copy.deepcopy(GOOD)
    change(values)
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


def test_a_good_file_loads_with_its_values_and_the_defaults(tmp_path):
    config = load_config(write(tmp_path))
    assert (config.name, config.sae_names, config.corpus.sources[0].path) == (
        "tiny",
        ("one",),
        "corpus.jsonl",
    )
    assert (config.corpus.context_length, config.rules.max_tokens) == (256, (1, 5, 20, 50))
    assert config.lake_folder == Path("lake/tiny").absolute()


def test_a_file_that_extends_another_puts_its_keys_over_those(tmp_path):
    scoring = {"n_questions": 30, "scorers": ["detection"], "simulation": {"n_top": 3}}
    write(tmp_path, lambda v: v.update(scoring=scoring))
    path = tmp_path / "over.yaml"
    path.write_text(yaml.safe_dump({
        "extends": "experiment.yaml", "name": "over",
        "scoring": {"scorers": ["fuzzing"], "simulation": {"n_drawn": 2}},
    }))  # fmt: skip
    config = load_config(path)
    assert (config.name, config.subject.model, config.scoring.n_questions) == ("over", "some/model", 30)
    assert config.scoring.scorers == ("fuzzing",)  # a list is replaced
    assert (config.scoring.simulation.n_top, config.scoring.simulation.n_drawn) == (3, 2)


def test_a_file_that_extends_itself_or_none_is_refused_in_a_sentence(tmp_path):
    one, other = tmp_path / "one.yaml", tmp_path / "other.yaml"
    one.write_text("extends: other.yaml")
    other.write_text("extends: one.yaml")
    assert "extends itself" in refusal(one)
    other.write_text("extends: nowhere.yaml")
    assert "nowhere.yaml" in (message := refusal(other)) and "from extends in" in message


ROUNDS = {"n_questions": 50, "target_half_width": 0.1}


@pytest.mark.parametrize(
    ("scoring", "endpoint", "words"),
    [
        ({}, {}, "endpoints.scorer.batch needs scoring.questions_per_prompt"),
        ({"questions_per_prompt": 5, **ROUNDS}, {}, "may take a day for each round"),
        ({"questions_per_prompt": 5, **ROUNDS}, {"batch_rounds": True}, None),
        ({"questions_per_prompt": 5}, {}, None),
        ({"provider": "local"}, {}, None),
    ],
)
def test_batches_that_would_wait_for_days_have_to_be_meant(tmp_path, scoring, endpoint, words):
    def change(values):
        values["scoring"] = {"provider": "openai", "model": "m", **scoring}
        values["endpoints"] = {"scorer": {"batch": True, **endpoint}}

    path = write(tmp_path, change)
    if words is None:
        assert load_config(path).endpoints.scorer.batch
    else:
        assert words in refusal(path)


def test_a_target_for_rounds_needs_questions_for_more_than_one(tmp_path):
    def change(values):
        values["scoring"] = {"target_half_width": 0.1}

    said = refusal(write(tmp_path, change))
    assert "the first round asks min_questions (20) per answer, and n_questions is 20" in said


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_shipped_config_loads(path):
    assert load_config(path).name


def test_a_config_goes_to_another_process():
    said = load_config(FOLDER / "demo.yaml")
    assert pickle.loads(pickle.dumps(said)) == said  # noqa: S301 - what was just made


def test_there_is_a_shipped_config():
    assert SHIPPED


@pytest.mark.parametrize(
    ("change", "key", "nearest"),
    [
        (lambda values: values.update(sampel={}), "sampel", "sampling"),
        (
            lambda values: values["corpus"].update(context_lenght=64),
            "corpus.context_lenght",
            "context_length",
        ),
        (lambda values: values["saes"][0].update(hookpiont="x"), "saes.0.hookpiont", "hookpoint"),
        (
            lambda values: values["corpus"]["sources"][0].update(text_feild="x"),
            "corpus.sources.0.text_feild",
            "text_field",
        ),
    ],
    ids=["at the top", "in a section", "in an SAE", "in a corpus source"],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(tmp_path, change, key, nearest):
    message = refusal(write(tmp_path, change))
    assert f"unknown key '{key}'" in message
    assert f"nearest known: '{nearest}'" in message


def test_an_unknown_key_that_is_called_like_a_kind_of_source_is_named_too(tmp_path):
    message = refusal(write(tmp_path, lambda values: values["corpus"]["sources"][0].update(text="body")))
    assert "unknown key 'corpus.sources.0.text'" in message
    assert "'text_field'" in message


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda values: values.pop("saes"), "saes"),
        (lambda values: values["subject"].pop("model"), "subject.model"),
        (lambda values: values["saes"][0].pop("n_features"), "saes.0.n_features"),
        (lambda values: values["corpus"]["sources"][0].pop("path"), "corpus.sources.0.path"),
    ],
)
def test_a_missing_key_is_named(tmp_path, change, key):
    assert f"key '{key}' is missing" in refusal(write(tmp_path, change))


def test_a_key_without_a_value_is_said_to_be_empty(tmp_path):
    message = refusal(write(tmp_path, lambda values: values["subject"].update(model=None)))
    assert message.endswith("key 'subject.model' is empty; write a value after the colon")


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda values: values["corpus"].update(shards="many"), ("'corpus.shards'", "integer", "'many'")),
        (lambda values: values["corpus"].update(context_length=3), ("'corpus.context_length'", "32", "3")),
        (lambda values: values["corpus"].update(test_share=1.0), ("'corpus.test_share'", "less than 1")),
        (lambda values: values["corpus"].update(sources=[]), ("'corpus.sources'", "at least 1")),
        (lambda values: values["corpus"].update(min_document_tokens=2_000_000), ("min_document_tokens",)),
        (lambda values: values["subject"].update(dtype="int4"), ("'subject.dtype'", "'bfloat16'", "'int4'")),
        (lambda values: values["sampling"].update(copied_run_tokens=33), ("power of two",)),
        (
            lambda values: values.update(rules={"max_tokens": [5, 20], "chosen_max_tokens": 3}),
            ("chosen_max_tokens is 3; it must be one of max_tokens (5, 20)",),
        ),
        (lambda values: values.update(rules={"chosen_max_tokens": 10}), ("is 10; it must be", "(1, 5, 20, 50)")),
        (
            lambda values: values.update(
                explaining={"sampling": "random", "n_examples": 41}, sampling={"draws_per_decile": 4}
            ),
            ("41 windows", "draws_per_decile keeps 40; set it to 5"),
        ),
        (
            lambda values: values.update(
                explaining={"sampling": "mixture", "n_examples": 41}, sampling={"draws_per_decile": 2}
            ),
            ("21 windows", "draws_per_decile keeps 20; set it to 3"),
        ),
        (lambda values: values.update(sampling=[1]), ("'sampling'",)),
        (lambda values: values.update(name="a/b"), ("'name'", "'a/b'")),
        (lambda values: values.update(name=2024), ("'name': it is text", "needs quotes", "2024")),
        (
            lambda values: values.update(name="my-exp"),
            ("'name': use only letters, digits and underscores", "my-exp"),
        ),
        (
            lambda values: values["selection"].update(features=[1, 2, 3]),
            ("'selection.features': it must be one text, not a list: CSV, Parquet or JSON file with columns (",),
        ),
        (lambda values: values["selection"].update(quotas=30), ("'selection.quotas': it must be a section",)),
        (
            lambda values: values.update(explaining={"provider": "openai"}),
            ("'explaining': provider openai needs a model: the server's name for it",),
        ),
        (
            lambda values: values.update(scoring={"models": {"mini": {"provider": "openai"}}}),
            ("'scoring': provider openai needs a model",),
        ),
        (
            lambda values: values.update(scoring={"scorers": ["detection@mini"]}),
            ("scorer 'detection@mini' names the model 'mini', which is not in scoring.models; there is none yet",),
        ),
        (lambda values: values.update(seed=2**63), ("'seed'", "less than")),
        (lambda values: values.update(machine={"memory_limit": "lots"}), ("'machine.memory_limit'", "'lots'")),
        (lambda values: values["saes"][0].update(name="a/b"), ("'saes.0.name'", "'a/b'")),
        (
            lambda values: values["corpus"]["sources"][0].update(kind="csv"),
            ("corpus.sources.0", "csv", "jsonl"),
        ),
        (lambda values: values["corpus"]["sources"][0].pop("kind"), ("corpus.sources.0", "kind")),
        (lambda values: values["selection"].update(quotas={"lmm": 3}), ("'selection.quotas.lmm': ", "'llm'")),
    ],
)
def test_a_wrong_value_is_named_with_what_is_wrong(tmp_path, change, parts):
    def fill_and_change(values: dict[str, Any]) -> None:
        values |= {"sampling": {}, "selection": {}}
        change(values)

    message = refusal(write(tmp_path, fill_and_change))
    assert all(part in message for part in parts), message


def test_two_saes_of_one_name_are_refused(tmp_path):
    for spelled in (str.upper, str.lower):  # on some disks their files would be the same

        def add(values, spelled=spelled):
            first = values["saes"][0]
            values["saes"].append({**first, "name": spelled(first["name"])})

        assert "two SAEs have the same name" in refusal(write(tmp_path, add))


def test_a_lake_may_be_below_home_and_names_no_variables(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LATENTLAKE_LAKE", raising=False)

    def at(lake):
        return write(tmp_path, lambda values: values.update(machine={"lake": lake}))

    assert load_config(at("~/lakes")).lake_folder == tmp_path / "home" / "lakes" / "tiny"
    assert "'$HOME/lakes' contains a '$'" in refusal(at("$HOME/lakes"))


def test_a_file_that_is_not_there_is_named_with_what_writes_one(tmp_path):
    message = refusal(tmp_path / "none.yaml")
    assert "no config file" in message and "; write one for an SAE with make config" in message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"name: [1, 2", "is not YAML"),
        (b"name: tiny\n\tseed: 1", "is not YAML"),
        (b"name: tiny\nseed: 1\nname: other", "key 'name' is there twice (line 3)"),
        (b"name: tiny\nsubject: {model: x, on: true}", "unknown key 'subject.on'"),
        (b"[" * 600, "nested too deeply"),
        (b"", "has no keys"),
        (b"- name", "has no keys"),
        (b"name: \xff\xfe", "cannot be read"),
    ],
)
def test_a_file_that_is_no_mapping_in_yaml_is_refused(tmp_path, content, reason):
    path = tmp_path / "experiment.yaml"
    path.write_bytes(content)
    assert reason in refusal(path)


@pytest.mark.parametrize("asked", ["mine", "mine.yaml", "config/mine", "config/mime.yaml", "config/mine.yml"])
def test_a_file_that_is_not_there_is_named_with_the_nearest_in_config(tmp_path, monkeypatch, asked):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    write(tmp_path / "config").rename("config/mine.yaml")
    assert refusal(asked) == f"no config file '{asked}'; nearest: 'config/mine.yaml'"


def test_a_folder_in_place_of_the_file_is_refused(tmp_path):
    assert refusal(tmp_path).startswith(f"'{tmp_path}' is a folder, not a config file; ")


def test_what_was_meant_as_another_argument_is_told_that_the_config_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cure = "a command's first argument is its config; write one for an SAE with make config FROM=…, or latentlake"
    assert refusal("neuronpedia") == f"no config file 'neuronpedia'; {cure} config FROM"


def test_a_config_cannot_be_changed_after_loading(tmp_path):
    config = load_config(write(tmp_path))
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 1
    with pytest.raises(ValidationError, match="frozen"):
        config.corpus.shards = 1


def test_an_sae_that_is_not_in_the_file_is_named_with_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match="no SAE 'onne' in experiment 'tiny'; nearest: 'one'"):
        load_config(write(tmp_path)).sae("onne")


def test_the_environment_goes_before_the_machine_section(tmp_path, monkeypatch):
    config = load_config(write(tmp_path))
    monkeypatch.setenv("LATENTLAKE_LAKE", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("LATENTLAKE_DEVICE", "cuda:7")
    assert config.lake_folder == tmp_path / "elsewhere" / "tiny"
    assert config.device == "cuda:7"


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_key_of_every_section_says_what_it_is(section):
    # `kind` picks the section and is described by its docstring.
    bare = [name for name, key in section.model_fields.items() if not key.description and name != "kind"]
    assert not bare
    assert section.__doc__


def test_every_section_is_frozen_and_closed():
    assert Config in SECTIONS and len(SECTIONS) > 10
    for section in SECTIONS:
        assert (section.model_config["frozen"], section.model_config["extra"]) == (True, "forbid")


@pytest.mark.parametrize(
    ("confidence", "z"), [(0.8, 1.2815515655446), (0.95, 1.9599639845401), (0.99, 2.5758293035489)]
)
def test_intervals_are_as_wide_as_the_normal_quantile_of_their_level(confidence, z):
    assert ScoringConfig(confidence=confidence).z == pytest.approx(z, rel=1e-13)


def patterns_in(schema: object) -> set[str]:
    """Every pattern in a JSON schema."""
    if isinstance(schema, list):
        return {pattern for each in schema for pattern in patterns_in(each)}
    if not isinstance(schema, dict):
        return set()
    own = {schema["pattern"]} if isinstance(schema.get("pattern"), str) else set()
    return own | patterns_in([*schema.values()])


def test_every_pattern_of_the_config_is_said_in_words() -> None:
    assert patterns_in(Config.model_json_schema()) == {*_ALLOWED}
