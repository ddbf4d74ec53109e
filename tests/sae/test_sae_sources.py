"""Where an SAE's files come from: paths, the hub, SAELens' registry; what is no SAE is named."""

from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile, RepoFolder
from huggingface_hub.utils import filter_repo_objects
from sae_layouts import LAYOUTS, random_weights
from tiny import write_random_sae, write_sparsify

from pipeline.errors import SaeError
from pipeline.plugins import find_plugins
from pipeline.sae import load_sparse_coder, sae_files

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize("source", ["hf://owner", "hf://", "hf:///name/path", "hf://owner//path"])
def test_a_hub_source_without_a_repository_is_refused_before_any_request(source):
    with pytest.raises(SaeError, match="names no repository on the hub"):
        sae_files(source)


@pytest.fixture
def files_of_hub() -> list[str]:
    """What the hub says that its one repository has."""
    names = ("cfg.json", "sae.safetensors", "examples.safetensors")
    return ["README.md", *(f"part/layers.1/{name}" for name in names)]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files_of_hub: list[str]) -> list[tuple]:
    """A hub whose one repository is a folder here, with SAEs of sparsify; what was asked of it."""
    asked = []
    root = tmp_path / "snapshots" / COMMIT

    def snapshot_download(repository, revision, allow_patterns):
        fetched = set(filter_repo_objects(files_of_hub, allow_patterns=allow_patterns))
        asked.append((repository, revision, fetched))
        for name in fetched:
            if name.endswith("cfg.json"):
                write_random_sae((root / name).parent)
            elif not name.endswith("sae.safetensors"):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).touch()
        return str(root)

    def list_repo_tree(self, repository, path_in_repo, revision):
        below = f"{path_in_repo}/" if path_in_repo else ""
        inside = [name.removeprefix(below) for name in files_of_hub if name.startswith(below)]
        if not inside:
            raise FileNotFoundError(path_in_repo)
        for name in dict.fromkeys(name.partition("/")[0] for name in inside):
            kind = RepoFile if name in inside else RepoFolder
            yield kind(path=below + name, size=1, oid="", tree_id="")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_tree", list_repo_tree)
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", lambda self, repository, revision: files_of_hub)
    return asked


def test_a_folder_whose_name_would_be_a_pattern_is_fetched_by_its_name(hub, files_of_hub):
    names = ("cfg.json", "sae.safetensors")
    files_of_hub[:] = [f"run[1]/layers.{layer}/{name}" for layer in "12" for name in names]
    assert load_sparse_coder("hf://owner/name/run[1]/layers.1").hookpoint == "layers.1"


def test_a_push_between_two_steps_of_a_process_changes_nothing(hub):
    for _ in range(2):
        load_sparse_coder("hf://owner/name/part/layers.1")
    assert len(hub) == 1


def test_of_a_repository_with_an_sae_at_its_root_that_is_fetched(hub, files_of_hub):
    files_of_hub[:] = ["README.md", "cfg.json", "sae.safetensors", "more/cfg.json", "more/large.bin"]
    assert load_sparse_coder("hf://owner/name").format == "sparsify"
    assert hub == [("owner/name", None, {"cfg.json", "sae.safetensors"})]


def test_the_factor_beside_a_checkpoint_of_saelens_is_fetched_with_it(hub, files_of_hub):
    names = ("cfg.json", "sae_weights.safetensors", "activation_scaler.json")
    files_of_hub[:] = [f"step_100/{name}" for name in (*names, "trainer_state.pt")]
    with pytest.raises(SaeError, match="sae_weights"):  # here it is empty
        load_sparse_coder("hf://owner/name/step_100", "saelens")
    assert {f"step_100/{name}" for name in names} == hub[0][2]


def test_a_path_that_a_repository_lacks_is_named_with_the_nearest(hub):
    with pytest.raises(SaeError, match=r"'owner/name' has no 'part/layer\.1'; nearest: 'part/layers\.1'"):
        load_sparse_coder("hf://owner/name/part/layer.1")


@pytest.mark.parametrize(
    ("path", "files", "inside"),
    [
        ("/layer_9", ["layer_9/width_16k/l0_8/params.npz", "layer_9/width_1m/l0_9/params.npz"], "width_16k/, "),
        ("", ["README.md", "config.json", "layer0.sae.pt", "layer1.sae.pt"], "README.md, config.json, layer0"),
        ("", ["config.yaml", *(f"layer_{layer}.safetensors" for layer in range(9))], "config.yaml, .* and 4 more"),
    ],
)
def test_of_a_folder_with_several_saes_or_none_nothing_large_is_fetched(hub, files_of_hub, path, files, inside):
    files_of_hub[:] = files
    says = f"'hf://owner/name{path}' is not one SAE of a known format .*: it contains {inside}.*; name the "
    with pytest.raises(SaeError, match=says):
        load_sparse_coder(f"hf://owner/name{path}")
    [(_, _, fetched)] = hub
    assert fetched <= {"config.json", "config.yaml"}


@pytest.mark.parametrize(
    ("file", "kind"), [("W_enc_0", "a cross-layer transcoder"), ("params_layer_3", "a crosscoder or a cross")]
)
def test_what_cannot_be_read_is_refused_by_its_name_before_it_is_fetched(hub, files_of_hub, file, kind):
    files_of_hub[:] = ["config.yaml", f"clt/{file}.safetensors", "clt/W_dec_0.safetensors", "clt/config.json"]
    for path in ("clt", f"clt/{file}.safetensors"):
        with pytest.raises(SaeError, match=f"SAE 'hf://owner/name/{path}' is {kind}.*; latentlake reads SAEs"):
            load_sparse_coder(f"hf://owner/name/{path}")
    assert [fetched for _, _, fetched in hub] == [{"clt/config.json"}]


def test_a_file_alone_in_its_folder_is_fetched_by_the_folder_or_the_root(hub, files_of_hub, tmp_path):
    files_of_hub[:] = ["README.md", "Llama-3.1-8B-Instruct-SAE-l19.pth", "docs/other.pt"]
    with pytest.raises(SaeError, match="damaged"):  # here it is empty
        load_sparse_coder("hf://owner/name")
    assert hub[-1] == ("owner/name", None, {"Llama-3.1-8B-Instruct-SAE-l19.pth"})


@pytest.mark.parametrize(
    ("kind", "cure"),
    [
        (GatedRepoError, "accept its terms"),
        (RevisionNotFoundError, "no such revision"),
        (RepositoryNotFoundError, "no such repository, or it is private"),
    ],
)
def test_what_the_hub_refuses_is_told_apart(monkeypatch, kind, cure):
    def refuse(*_, **__):
        raise kind.__new__(kind)  # which wants a response

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(SaeError, match=cure):
        load_sparse_coder("hf://owner/name@v2/layers.1")


def test_a_folder_on_the_hub_is_fetched_and_its_commit_recorded(hub):
    coder = load_sparse_coder("hf://owner/name@v1/part/layers.1")
    assert (coder.format, coder.hookpoint, coder.revision) == ("sparsify", "layers.1", COMMIT)
    assert hub == [("owner/name", "v1", {"part/layers.1/cfg.json", "part/layers.1/sae.safetensors"})]


def test_a_file_on_the_hub_comes_with_what_lies_beside_it(hub):
    assert load_sparse_coder("hf://owner/name/part/layers.1/sae.safetensors").format == "sparsify"
    assert hub == [("owner/name", None, {"part/layers.1/cfg.json", "part/layers.1/sae.safetensors"})]


def test_the_config_of_a_run_is_fetched_with_a_folder_and_with_a_file_of_it(hub, files_of_hub):
    files_of_hub += ["part/config.json", "config.json"]
    for source in ("hf://owner/name/part/layers.1", "hf://owner/name@v1/part/layers.1"):
        load_sparse_coder(source)
    assert all("part/config.json" in fetched and "config.json" not in fetched for _, _, fetched in hub)


def test_a_hub_that_cannot_be_reached_is_one_sentence(monkeypatch):
    def refuse(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(SaeError, match="cannot be fetched from the Hugging Face hub"):
        load_sparse_coder("hf://owner/name/layers.1")


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed sae_lens with a registry of one release."""
    package = tmp_path / "site" / "sae_lens"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('never imported')")
    (package / "pretrained_saes.yaml").write_text(
        "my-release:\n  repo_id: owner/name\n  model: tiny\n  conversion_func: sparsify\n"
        "  saes:\n  - {id: layer_1/k_4, path: part/layers.1, l0: 4}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


def test_a_name_of_saelens_registry_is_a_repository_and_a_path(registry, hub):
    coder = load_sparse_coder("saelens://my-release/layer_1/k_4")
    assert (coder.revision, coder.declared_l0) == (COMMIT, 4)
    [(repository, revision, fetched)] = hub
    assert (repository, revision) == ("owner/name", None) and "part/layers.1/cfg.json" in fetched


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("my-relase/layer_1/k_4", "no release 'my-relase'; nearest: 'my-release'"),
        ("my-release/layer_2", "no SAE 'layer_2'; nearest: 'layer_1/k_4'"),
        ("my-release", "write saelens://RELEASE/ID"),
    ],
)
def test_a_name_that_the_registry_lacks_is_refused(registry, name, reason):
    with pytest.raises(SaeError, match=reason):
        load_sparse_coder(f"saelens://{name}")


def test_a_layer_of_a_cross_layer_transcoder_is_refused_by_its_registry_entry(registry, hub, tmp_path):
    file = tmp_path / "site" / "sae_lens" / "pretrained_saes.yaml"
    file.write_text(file.read_text().replace("sparsify", "mntss_clt_layer_transcoder"))
    with pytest.raises(SaeError, match="layer_1/k_4' is a layer of a cross-layer transcoder"):
        load_sparse_coder("saelens://my-release/layer_1/k_4")
    assert not hub


def test_without_saelens_its_registry_is_an_error_that_says_what_to_do(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SaeError, match="install sae-lens, or name the repository as hf://"):
        load_sparse_coder("saelens://my-release/layer_1/k_4")


def test_of_a_folder_with_a_folder_for_each_place_the_named_one_is_loaded(tmp_path):
    for layer in (1, 2):
        write_sparsify(tmp_path / f"layers.{layer}", *random_weights(20, 8, 3, seed=layer)[:4], k=3)
    assert load_sparse_coder(tmp_path, hookpoint="layers.2").hookpoint == "layers.2"
    with pytest.raises(SaeError, match="holds SAEs in 2 folders"):
        load_sparse_coder(tmp_path)


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("W_enc_3.safetensors", "cross-layer transcoder"),
        ("params_layer_0.safetensors", "crosscoder"),
        ("latest_ckpt.safetensors", "temporal"),
        ("sae_weights.safetensors.index.json", "saved in several files"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(tmp_path, file, kind):
    (tmp_path / file).touch()
    for path in (tmp_path, tmp_path / file):
        with pytest.raises(SaeError, match=kind):
            load_sparse_coder(path)


def test_a_saelens_folder_with_a_config_of_another_program_beside_is_still_one(tmp_path):
    folder = LAYOUTS["saelens"].write(tmp_path / "sae", random_weights(20, 8, 3))
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    assert load_sparse_coder(folder).format == "saelens"


def test_a_folder_that_is_named_like_a_file_is_a_folder(tmp_path):
    folder = LAYOUTS["saelens"].write(tmp_path / "v5_32k_layer_0.pt", random_weights(20, 8, 3))
    assert load_sparse_coder(folder).format == "saelens"
    with pytest.raises(SaeError, match=r"holds an SAE in a folder; name one, such as 'v5_32k_layer_0.pt' \("):
        load_sparse_coder(tmp_path)


def test_files_that_are_named_as_a_formats_and_hold_other_tensors_are_told_by_these(tmp_path):
    torch.save({"encoder.weight": torch.ones(3, 2), "decoder.bias": torch.ones(2)}, tmp_path / "l19.pt")
    for path in (tmp_path, tmp_path / "l19.pt"):
        says = r"goodfire or openai .* other tensors: decoder.bias, encoder.weight; docs/your-sae.md shows how"
        with pytest.raises(SaeError, match=says):
            load_sparse_coder(path)


def test_a_checkpoint_of_ones_own_training_is_told_where_its_tensors_are(tmp_path):
    state = {"encoder.weight": torch.ones(3, 2), "decoder.weight": torch.ones(2, 3)}
    torch.save({"epoch": 3, "model_state_dict": state, "optimizer": {}}, tmp_path / "checkpoint.pt")
    says = "other tensors: 'model_state_dict' with decoder.weight, encoder.weight; docs/your-sae.md shows how"
    with pytest.raises(SaeError, match=says):
        load_sparse_coder(tmp_path)


def test_of_files_that_any_program_may_have_written_none_is_said_to_be_an_sae(tmp_path):
    for name in ("a.pt", "b.pt"):
        torch.save({"weight": torch.ones(3)}, tmp_path / name)
    with pytest.raises(SaeError, match=r"holds 2 files that may be SAEs; name one, such as 'a\.pt'"):
        load_sparse_coder(tmp_path)


@pytest.mark.parametrize(
    ("url", "instead"),
    [
        ("https://huggingface.co/owner/name", "hf://owner/name"),
        ("https://huggingface.co/owner/name/tree/main/layer_9/width_16k/", "hf://owner/name/layer_9/width_16k"),
        ("https://hf.co/owner/name/blob/v2/a.pt?download=true", "hf://owner/name@v2/a.pt"),
        ("s3://bucket/sae", "name its repository on the hub as hf://OWNER/REPO/PATH"),
    ],
)
def test_a_url_is_told_with_what_to_write_instead(url, instead):
    with pytest.raises(SaeError, match=f"is at a URL: .*{instead}$"):
        load_sparse_coder(url)


def test_a_repository_without_its_prefix_is_told_to_have_one():
    with pytest.raises(
        SaeError, match=r"no folder or file 'owner/name'; .* or to hf://OWNER/REPO/PATH on the hub"
    ):
        load_sparse_coder("owner/name")


def test_a_config_that_names_saes_of_other_repositories_is_told_from_an_sae(hub, files_of_hub, tmp_path):
    """As `mwhanna/gemma-scope-transcoders`, circuit-tracer's set for Gemma 2."""
    one = "hf://google/gemma-scope-2b-pt-transcoders/layer_0/width_16k/average_l0_76/params.npz"
    files_of_hub[:] = ["README.md", "config.yaml"]
    root = tmp_path / "snapshots" / COMMIT
    root.mkdir(parents=True)
    (root / "config.yaml").write_text(f"model_kind: transcoder_set\ntranscoders:\n- {one}\n- hf://more\n")
    for source in ("hf://owner/name", root):
        with pytest.raises(SaeError, match=f"'{source}' holds no SAE: .* such as '{one}'$"):
            load_sparse_coder(source)


def test_a_checkpoint_of_dictionary_learning_is_told_how_to_be_read(tmp_path):
    """It lies in `checkpoints/`, below the folder with ae.pt and config.json."""
    tensors = {"encoder.weight": torch.ones(3, 2), "encoder.bias": torch.ones(3), "bias": torch.ones(2)}
    torch.save(tensors | {"decoder.weight": torch.ones(2, 3)}, tmp_path / "ae_1000.pt")
    says = "ae_1000.pt' is a checkpoint of dictionary_learning; copy it as ae.pt into a folder of its own, with"
    for path in (tmp_path, tmp_path / "ae_1000.pt"):
        with pytest.raises(SaeError, match=says):
            load_sparse_coder(path)
    (tmp_path / "ae_1000.pt").rename(tmp_path / "ae.pt")
    assert load_sparse_coder(tmp_path).format == "dictionary_learning"


def test_a_folder_that_is_no_sae_is_told_with_what_is_in_it_and_the_formats_one_a_line(tmp_path):
    (tmp_path / "layer_5").mkdir()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(SaeError) as caught:
        load_sparse_coder(tmp_path)
    first, second, *formats = str(caught.value).split("\n")
    assert first == (
        f"'{tmp_path}' is not an SAE of a known format; it contains layer_5/, notes.txt; docs/your-sae.md shows "
        "how to write an SAE that you trained yourself"
    )
    assert second == "The files of each format:" and len(formats) == len(find_plugins("formats"))
    assert "  saelens              cfg.json, sae_weights.safetensors" in formats
    assert max(map(len, formats)) < 80


def test_what_the_nearest_formats_lack_is_named(tmp_path):
    (tmp_path / "cfg.json").touch()
    lacks = r"lacks sae_weights.safetensors \(format saelens\) or sae.safetensors \(format sparsify\)"
    with pytest.raises(SaeError, match=lacks + "; it contains cfg.json$"):
        load_sparse_coder(tmp_path)


def test_a_cache_of_firings_is_told_from_an_sae(tmp_path):
    (tmp_path / "0_4095.safetensors").touch()
    with pytest.raises(SaeError, match="is a delphi cache of activations, not an SAE; read it with a corpus"):
        load_sparse_coder(tmp_path)
