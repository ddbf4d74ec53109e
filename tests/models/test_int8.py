"""An int8 model says what its float32 model says, holds a quarter of the memory, and is converted once."""

import json
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from test_gguf import subject_of, write_gguf
from tiny import write_larger_subject
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline.config import LocalConfig
from pipeline.errors import SubjectError
from pipeline.llm import Message, Request
from pipeline.llm.local import client as local_client
from pipeline.llm.local.client import LocalClient
from pipeline.llm.local.model import LocalModel, load_local_model
from pipeline.models import int8, int8_conversion
from pipeline.models.load import find_files, load_tokenizer

TOKEN_IDS = [[5, 6, 7, 8, 9, 10, 11, 12], [20, 21, 22, 23, 24, 25, 26, 27]]


ROOT = Path(__file__).parents[2]

NEAR = 0.12 if int8.overflows() else 0.06
"""How far 8 bits, and 7 where a CPU's products of 8 would overflow, may be from float32, in deviations."""


@pytest.fixture(autouse=True)
def lakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of all lakes."""
    monkeypatch.setenv("LATENTLAKE_LAKE", str(tmp_path / "lakes"))
    return tmp_path / "lakes"


@pytest.fixture(params=["tied", "untied in shards"])
def folder(request: pytest.FixtureRequest, tiny_subject: Path, tmp_path: Path) -> Path:
    is_tied = request.param == "tied"
    shard = "5GB" if is_tied else "100KB"
    return write_larger_subject(tmp_path / "given", tiny_subject, is_tied=is_tied, shard=shard)


def in_int8(folder: Path, **changes) -> LocalConfig:
    return LocalConfig(**{"model": str(folder), "dtype": "float32", "precision": "int8", **changes})


def first_logits(subject: LocalConfig) -> torch.Tensor:
    return load_local_model(subject, "cpu").start(None, TOKEN_IDS).logits


def test_logits_are_those_of_the_float32_model(folder):
    exact = first_logits(LocalConfig(model=str(folder), dtype="float32"))
    found = first_logits(in_int8(folder))
    assert (found - exact).square().mean().sqrt() < NEAR * exact.std()
    assert not torch.equal(found, exact)
    bfloat16 = first_logits(in_int8(folder, dtype="bfloat16"))
    assert (bfloat16 - exact).square().mean().sqrt() < NEAR * exact.std()


def test_writing_goes_on_as_in_float32(folder):
    exact, found = (
        load_local_model(LocalConfig(model=str(folder), dtype="float32", precision=precision), "cpu").start(
            None, TOKEN_IDS
        )
        for precision in (None, "int8")
    )
    for batch in (exact, found):
        batch.append([30, 31])
    assert (found.logits - exact.logits).square().mean().sqrt() < NEAR * exact.logits.std()


def test_every_matrix_is_int8_and_a_tied_head_is_kept_once(folder):
    location = find_files(in_int8(folder))
    kinds = {}
    for file in Path(location.name).glob("*.safetensors"):
        with safe_open(file, "pt") as opened:
            names = list(opened.keys())
            kinds.update({name: opened.get_slice(name).get_dtype() for name in names})
    assert {kind for name, kind in kinds.items() if name.endswith("proj.weight")} == {"I8"}
    assert kinds["model.embed_tokens.weight"] == "I8"
    assert kinds["model.norm.weight"] == "F32"
    is_tied = json.loads((folder / "config.json").read_text())["tie_word_embeddings"]
    assert ("lm_head.weight" in kinds) is not is_tied
    assert ("lm_head.scale" in kinds) is not is_tied


def test_a_model_is_converted_once_and_its_tokenizer_goes_along(folder, lakes, monkeypatch):
    first = find_files(in_int8(folder))
    monkeypatch.setattr(int8_conversion, "_convert", lambda *_: pytest.fail("converted again"))
    again = in_int8(folder, dtype="bfloat16")
    assert find_files(again) == first
    given = AutoTokenizer.from_pretrained(folder)
    assert load_tokenizer(again).backend_tokenizer.to_str() == given.backend_tokenizer.to_str()
    assert [path.name for path in (lakes / "models").iterdir() if path.name != ".tmp"] == [Path(first.name).name]


def test_a_gguf_file_becomes_int8_as_its_float32_weights_would(tiny_subject, tmp_path):
    file = write_gguf(tmp_path / "tiny.gguf", tiny_subject)
    packed = LocalConfig(**subject_of(file).model_dump())
    exact = first_logits(packed)
    found = first_logits(packed.model_copy(update={"precision": "int8"}))
    assert (found - exact).square().mean().sqrt() < 0.05 * exact.std()


def test_a_file_that_lacks_weights_is_refused(tiny_subject, tmp_path):
    file = write_gguf(tmp_path / "lacking.gguf", tiny_subject, n_left_out=3)  # one of them int8, with a scale
    with pytest.raises(SubjectError, match="lacks 4 weights"):
        find_files(LocalConfig(**subject_of(file).model_dump(), precision="int8"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SubjectError, match=r"model\.safetensors"):
        find_files(in_int8(tmp_path / "empty"))


def test_weights_are_converted_tensor_by_tensor(folder, monkeypatch):
    read: list[weakref.ref[torch.Tensor]] = []
    n_alive: list[int] = []

    class Watched(int8_conversion.SavedTensor):
        def __getitem__(self, place):
            n_alive.append(sum(each() is not None and each().dim() == 2 for each in read))
            tensor = super().__getitem__(place)
            read.append(weakref.ref(tensor))
            return tensor

    monkeypatch.setattr(int8_conversion, "SavedTensor", Watched)
    find_files(in_int8(folder))
    assert len(n_alive) > 20
    assert max(n_alive) <= 1  # the one before


@pytest.mark.parametrize("n_rows", [1, 17, 40])
def test_a_layer_multiplies_as_its_numbers_say(n_rows):
    torch.manual_seed(n_rows)
    linear = nn.Linear(64, 48)
    layer = int8.Int8Linear(linear)
    rounded = int8.RoundWeight().convert({"weight": linear.weight.data}, "weight")
    layer.weight.data, layer.scale.data = rounded["weight"], rounded["scale"]
    if int8.overflows():
        layer.weight.data.div_(2, rounding_mode="trunc")
        layer.scale.data.mul_(2)
    inputs = torch.randn(2, n_rows, 64)
    inputs[0, 0] = 0
    q, scales = int8.round_rows(inputs.view(-1, 64))
    expected = (q.double() * scales) @ (layer.weight.double() * layer.scale[:, None]).T + linear.bias
    unpacked = layer(inputs)
    assert torch.allclose(unpacked.view(-1, 48).double(), expected, atol=1e-4)
    assert torch.allclose(unpacked, linear(inputs), atol=NEAR)
    exact = inputs.double() @ (layer.weight.double() * layer.scale[:, None]).T
    assert torch.allclose(inputs @ layer.unpacked(torch.float32).T, exact.float(), atol=1e-5)  # as on a GPU
    layer.pack()
    assert torch.allclose(layer(inputs), unpacked, atol=1e-4)
    assert layer.weight is None


@pytest.mark.parametrize("is_unsigned", [False, True])
def test_bytes_are_multiplied_alike_whether_they_are_read_as_signed_or_not(is_unsigned):
    torch.manual_seed(0)
    rows, weight = (torch.randint(-63, 64, size, dtype=torch.int8) for size in ((5, 64), (48, 64)))
    rows[0] = -127
    scale, zeros = torch.rand(48), torch.zeros(48, dtype=torch.long)
    packed = torch.ops.onednn.qlinear_prepack(weight, None)
    found = int8._multiply(rows, packed, scale, zeros, int8.Kernel(is_unsigned, torch.float32))
    assert torch.equal(found, (rows.int() @ weight.int().t()).float() * scale)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_layer_is_multiplied_by_a_kernel_of_this_cpu_and_not_by_the_reference(dtype):
    code = f"""
import torch
from pipeline.models import int8
rows, weight = torch.ones(32, 256, dtype=torch.int8), torch.ones(256, 256, dtype=torch.int8)
given = torch.ops.onednn.qlinear_prepack(weight, None), torch.ones(256), torch.zeros(256, dtype=torch.long)
kernel = int8.fastest_kernel(torch.{dtype})
with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
    int8._multiply(rows, *given, kernel)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    [product] = [line for line in done.stdout.splitlines() if ",exec,cpu,matmul," in line]
    assert ",ref" not in product


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rows_are_rounded_as_torch_rounds_them(dtype):
    torch.manual_seed(0)
    rows = torch.randn(5, 37).to(dtype)
    rows[1] = 0
    rows[2, 3] = -300  # the largest magnitude is negative
    rows[3] = torch.arange(37).to(dtype) - 18.5  # halves go to the even neighbour
    rows[3, 0] = 127
    found, scales = int8.round_rows(rows)
    exact = rows.float()
    expected = exact.abs().amax(-1, keepdim=True).clamp(min=1e-12) / 127
    assert torch.equal(scales, expected)
    assert found.dtype == torch.int8
    assert torch.equal(found.float(), (exact * expected.reciprocal()).round())
    assert torch.equal(int8.round_rows(rows[:, ::2])[0], int8.round_rows(rows[:, ::2].clone())[0])


def test_where_products_overflow_weights_are_kept_in_seven_bits(folder, monkeypatch):
    exact = first_logits(LocalConfig(model=str(folder), dtype="float32"))
    monkeypatch.setattr(int8, "overflows", lambda: True)
    local = load_local_model(in_int8(folder, dtype="float32", revision="seven bits"), "cpu")
    embedding, head = local._model.get_input_embeddings(), local._model.get_output_embeddings()
    assert embedding.weight.abs().max() == head.weight.abs().max() == 63
    found = local.start(None, TOKEN_IDS).logits
    assert (found - exact).square().mean().sqrt() < 0.12 * exact.std()


def test_an_embedding_that_scales_stays_as_it_is_and_its_head_too(tiny_subject, tmp_path):
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    torch.manual_seed(0)
    given = Gemma3ForCausalLM(
        Gemma3TextConfig(
            vocab_size=512, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, head_dim=16, tie_word_embeddings=True, initializer_range=0.2,
        )
    )  # fmt: skip
    given.save_pretrained(tmp_path / "gemma")
    AutoTokenizer.from_pretrained(tiny_subject).save_pretrained(tmp_path / "gemma")
    found = AutoModelForCausalLM.from_pretrained(find_files(in_int8(tmp_path / "gemma")).name)
    assert isinstance(found.lm_head, nn.Linear)
    assert isinstance(found.model.layers[0].mlp.up_proj, int8.Int8Linear)
    ids = torch.tensor(TOKEN_IDS)
    with torch.inference_mode():
        assert (found(ids).logits - given(ids).logits).square().mean().sqrt() < NEAR * given(ids).logits.std()


def test_a_client_asks_it_in_smaller_batches_and_gets_what_float32_says(folder, monkeypatch):
    n_rows: list[int] = []
    start = LocalModel.start
    monkeypatch.setattr(LocalModel, "start", lambda *given: n_rows.append(len(given[2])) or start(*given))
    monkeypatch.setattr(local_client, "INT8_BATCH_TOKENS", 60)
    requests = [
        Request("detection", "sae", n, "m", (Message("user", f"was it {n} or"),), 1, choices=("red", "the"))
        for n in range(6)
    ]
    answers = {}
    for precision in ("int8", None):
        client = LocalClient(LocalConfig(model=str(folder), dtype="float32", precision=precision), "cpu")
        answers[precision] = {each.request_id: each for some in client.answer(requests) for each in some}
        n_rows.append(0)
    assert max(n_rows[: n_rows.index(0)]) < max(n_rows)
    for request_id, answer in answers["int8"].items():
        if int8.overflows():  # in 7 bits the mass of these choices is below the least that tells a probability
            assert answer.status == answers[None][request_id].status
        else:
            assert answer.probabilities == pytest.approx(answers[None][request_id].probabilities, abs=NEAR)
