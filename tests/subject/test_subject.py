"""The subject model: hookpoints, widths, and a forward pass that ends where it has read enough."""

import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from pipeline.config import SubjectConfig
from pipeline.errors import SubjectError
from pipeline.models.load import load_subject_config, load_tokenizer, locate, pick_device
from pipeline.subject.contexts import pad_contexts
from pipeline.subject.forward import Hookpoint, load_subject
from pipeline.subject.hookpoints import hookpoint_widths, resolve_hookpoint

TOKEN_IDS = torch.randint(2, 400, (3, 20), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def subject_config(tiny_subject):
    return SubjectConfig(model=str(tiny_subject), dtype="float32")


@pytest.fixture
def subject(subject_config):
    return load_subject(subject_config, "cpu")


@pytest.fixture
def full_model(tiny_subject):
    return AutoModel.from_pretrained(tiny_subject, dtype=torch.float32).eval()


def one_sentence(error: pytest.ExceptionInfo) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


# Widths -----------------------------------------------------------------------------------------------


def test_widths_are_found_without_loading_a_weight(subject_config, tiny_subject, tmp_path):
    folder = shutil.copytree(tiny_subject, tmp_path / "no weights")
    (folder / "model.safetensors").unlink()
    hookpoints = [
        Hookpoint("layers.1"),
        Hookpoint("layers.0.mlp"),
        Hookpoint("embed_tokens"),
        Hookpoint("layers.0.mlp.down_proj", "input"),
        Hookpoint("layers.2.self_attn"),
    ]
    widths = hookpoint_widths(SubjectConfig(model=str(folder)), hookpoints)
    assert [widths[hookpoint] for hookpoint in hookpoints] == [32, 32, 32, 64, 32]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("layer.1", "'layers.1'"),
        ("layers.3", "'layers.2'"),
        ("resid_post.3", "'resid_post.2'"),
        ("resid_pst.1", "'resid_post.1'"),
        ("blocks.1.hook_resid_mlp", "'blocks.1.hook_resid_mid'"),
        ("blocks.1.hook_resid_post.output", "'blocks.1.hook_resid_post'"),
        ("mlp_out", "'mlp_out.2'"),
        ("mlp_out.-1", "'mlp_out.1'"),
    ],
)
def test_a_hookpoint_that_is_none_is_named_with_the_nearest(subject_config, name, nearest):
    with pytest.raises(SubjectError, match=f"hookpoint '{name}' is not a module of ") as caught:
        resolve_hookpoint(subject_config, name)
    assert nearest in one_sentence(caught)


# Reading ----------------------------------------------------------------------------------------------


@torch.inference_mode()
def test_what_is_read_is_the_full_models_hidden_state(subject, full_model):
    states = full_model(TOKEN_IDS, output_hidden_states=True).hidden_states
    hookpoints = [Hookpoint("embed_tokens"), Hookpoint("layers.0"), Hookpoint("layers.1")]
    read = subject.read(TOKEN_IDS, hookpoints)
    for hookpoint, state in zip(hookpoints, states[:3], strict=True):
        torch.testing.assert_close(read[hookpoint], state, rtol=0, atol=1e-6)


@torch.inference_mode()
def test_a_hookpoint_is_read_alike_alone_and_among_others(subject):
    alone = subject.read(TOKEN_IDS, [Hookpoint("layers.0.mlp")])
    among = subject.read(TOKEN_IDS, [Hookpoint("layers.2"), Hookpoint("layers.0.mlp"), Hookpoint("layers.0.mlp")])
    assert set(among) == {Hookpoint("layers.2"), Hookpoint("layers.0.mlp")}
    torch.testing.assert_close(
        alone[Hookpoint("layers.0.mlp")], among[Hookpoint("layers.0.mlp")], rtol=0, atol=1e-6
    )


@torch.inference_mode()
def test_the_input_of_a_module_is_what_its_predecessor_gives(subject):
    read = subject.read(
        TOKEN_IDS, [Hookpoint("layers.1.mlp", "input"), Hookpoint("layers.1.post_attention_layernorm")]
    )
    first, second = read.values()
    assert torch.equal(first, second)
    read = subject.read(TOKEN_IDS, [Hookpoint("layers.1.mlp", "input"), Hookpoint("layers.1.mlp")])
    assert not torch.equal(*read.values())


@pytest.mark.parametrize(
    ("hookpoint", "n_layers"),
    [
        (Hookpoint("embed_tokens"), 0),
        (Hookpoint("layers.0"), 1),
        (Hookpoint("layers.1", "input"), 1),
        (Hookpoint("layers.1.mlp"), 2),
        (Hookpoint("layers.2"), 3),
    ],
)
def test_the_model_runs_no_deeper_than_the_deepest_hookpoint(subject, hookpoint, n_layers):
    entered, left = [], []
    handles = [
        handle
        for number, layer in enumerate(subject.model.layers)
        for handle in (
            layer.self_attn.register_forward_hook(lambda *_, number=number: entered.append(number)),
            layer.register_forward_hook(lambda *_, number=number: left.append(number)),
            subject.model.norm.register_forward_hook(lambda *_: pytest.fail("ran to the end")),
        )
    ]
    try:
        subject.read(TOKEN_IDS, [hookpoint, Hookpoint("embed_tokens")])
    finally:
        for handle in handles:
            handle.remove()
    assert entered == list(range(n_layers))


def test_no_hook_stays_behind(subject):
    subject.read(TOKEN_IDS, [Hookpoint("layers.0"), Hookpoint("layers.1", "input")])
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in subject.model.modules())


@torch.inference_mode()
def test_padding_at_the_end_changes_nothing_before_it(subject):
    contexts = [(7, TOKEN_IDS[0].tolist()), (8, TOKEN_IDS[1, :5].tolist()), (9, TOKEN_IDS[2, :1].tolist())]
    batch = pad_contexts(contexts, 64)
    assert batch.token_ids.shape == (3, 20)
    assert (batch.lengths.tolist(), batch.first_index.tolist(), batch.n_tokens) == (
        [20, 5, 1],
        [448, 512, 576],
        26,
    )
    hookpoint = Hookpoint("layers.2")
    padded = subject.read(batch.token_ids, [hookpoint])[hookpoint]
    for row, (_, token_ids) in enumerate(contexts):
        alone = subject.read(torch.tensor([token_ids]), [hookpoint])[hookpoint][0]
        torch.testing.assert_close(padded[row, : len(token_ids)], alone, rtol=1e-5, atol=1e-5)


def test_the_model_is_loaded_in_its_dtype_once(tiny_subject, subject_config, subject):
    assert next(subject.model.parameters()).dtype == torch.float32
    assert load_subject(subject_config, "cpu") is subject
    half = load_subject(
        SubjectConfig(model=str(tiny_subject), dtype="bfloat16"),
        "auto" if pick_device("auto").type == "cpu" else "cpu",
    )
    assert next(half.model.parameters()).dtype == torch.bfloat16


def test_there_is_no_lm_head(subject):
    assert not any("lm_head" in name for name, _ in subject.model.named_modules())


# What is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"model": "./no/such/folder"}, "no folder './no/such/folder'"),
        ({"model": "/no/such/folder"}, "no folder '/no/such/folder'"),
        ({"model": "package:no_such_package"}, "package 'no_such_package' is not installed"),
        ({"model": "package:yaml"}, "package contains neither a GGUF file nor safetensors"),
    ],
)
def test_a_model_that_is_not_there_is_named(keys, reason):
    with pytest.raises(SubjectError) as caught:
        locate(SubjectConfig(**keys))
    assert reason in one_sentence(caught)


@pytest.mark.parametrize("name", ["package:no.such.part", "package:../up"])
def test_a_package_name_that_is_no_name_is_refused(name):
    with pytest.raises(SubjectError):
        locate(SubjectConfig(model=name))


def test_a_config_that_a_caller_changes_is_not_what_the_next_one_gets(tiny_subject):
    subject = SubjectConfig(model=str(tiny_subject))
    load_subject_config(subject).num_hidden_layers = 1
    assert load_subject_config(subject).num_hidden_layers == 3


def test_a_gguf_file_that_is_not_there_is_named_with_the_nearest(tiny_subject):
    with pytest.raises(SubjectError, match=r"has no file 'model\.gguf'; nearest: 'model\.safetensors'"):
        locate(SubjectConfig(model=str(tiny_subject), gguf_file="model.gguf"))


@pytest.mark.parametrize("load", [load_tokenizer, load_subject_config, lambda config: load_subject(config, "cpu")])
def test_a_folder_without_a_model_is_explained(tmp_path, load):
    with pytest.raises(SubjectError, match="cannot be loaded") as caught:
        load(SubjectConfig(model=str(tmp_path)))
    assert str(tmp_path) in one_sentence(caught)


def test_torn_weights_are_explained(tiny_subject, tmp_path):
    folder = shutil.copytree(tiny_subject, tmp_path / "torn")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(SubjectError, match="cannot be loaded") as caught:
        load_subject(SubjectConfig(model=str(folder)), "cpu")
    one_sentence(caught)


def test_a_model_that_lacks_some_of_its_weights_is_refused(tiny_subject, tmp_path):
    # transformers fills what is missing with random numbers, and says so in a log only.
    folder = shutil.copytree(tiny_subject, tmp_path / "lacking")
    tensors = load_file(folder / "model.safetensors")
    lacking = {name: tensor for name, tensor in tensors.items() if "layers.1." not in name}
    assert len(lacking) < len(tensors)
    save_file(lacking, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(SubjectError) as caught:
        load_subject(SubjectConfig(model=str(folder)), "cpu")
    one_sentence(caught)


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "cpu:x", ""])
def test_a_device_that_cannot_be_used_is_named(name):
    with pytest.raises(SubjectError, match=f"device '{name}' cannot be used") as caught:
        pick_device(name)
    one_sentence(caught)


def test_auto_is_a_device_that_can_be_used():
    assert pick_device("auto").type in {"cuda", "mps", "cpu"}
    assert pick_device("cpu") == torch.device("cpu")


# Compiled ---------------------------------------------------------------------------------------------


@pytest.mark.whole
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch compiles by functions that it has deprecated
@pytest.mark.filterwarnings("ignore:Reliance on distutils")
def test_compiled_layers_give_what_the_model_gives_and_layers_read_within_run_as_they_are(
    tiny_subject, subject, monkeypatch
):
    if sys.version_info < (3, 12):  # torch imports setuptools, which fails if another test has imported distutils
        monkeypatch.setenv("SETUPTOOLS_USE_DISTUTILS", "stdlib")
    config = SubjectConfig(model=str(tiny_subject), dtype="float32", compile=True)
    compiled = load_subject(config, "cpu")
    hookpoints = [Hookpoint("layers.0"), Hookpoint("layers.1.mlp"), Hookpoint("layers.2")]
    torch._dynamo.utils.counters.clear()
    expected, found = (model.read(TOKEN_IDS, hookpoints) for model in (subject, compiled))
    assert torch._dynamo.utils.counters["stats"]["calls_captured"] > 0
    for hookpoint in hookpoints:
        torch.testing.assert_close(found[hookpoint], expected[hookpoint], rtol=1e-4, atol=1e-5)
    assert not any("forward" in vars(module) for module in compiled.model.modules())


def test_a_model_that_cannot_be_compiled_says_what_to_do(tiny_subject, monkeypatch):
    def fail(*_arguments, **_named):
        raise torch._dynamo.exc.TorchDynamoException("no compiler")

    monkeypatch.setattr(torch, "compile", lambda *_arguments, **_named: fail)
    # As a folder of another name, so that no other test has loaded it.
    compiled = load_subject(SubjectConfig(model=f"{tiny_subject}/", dtype="float32", compile=True), "cpu")
    with pytest.raises(SubjectError, match=r"cannot be compiled: .*no compiler.*; set subject.compile to false"):
        compiled.read(TOKEN_IDS, [Hookpoint("layers.1")])
