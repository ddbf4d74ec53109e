"""dictionary_learning: `ae.pt` and `config.json`, whose `trainer.dict_class` names the class.

AutoEncoder, AutoEncoderNew, AutoEncoderTopK, BatchTopKSAE and GatedAutoEncoder have encoder.weight [n, d_in] and
decoder.weight [d_in, n]; MatryoshkaBatchTopKSAE and JumpReluAutoEncoder have W_enc [d_in, n] and W_dec [n, d_in].
The input bias, `b_dec`, is called `bias` or `decoder_bias` in older files. JumpReluAutoEncoder and AutoEncoderNew
(whose bias is `decoder.bias`) do not subtract it. BatchTopK classes, although trained with the k largest of a
batch, fire above one threshold for all features; a TopK class fires by k, although it also stores a threshold.
Without a config.json (the first releases) the class is recognised by the tensors. Based on dictionary-learning
0.1.0; the tests compare with its own `encode`.
"""

import re
from typing import Any

from torch import Tensor

from pipeline.sae.coder import RELU, Activation, JumpReLU, SparseCoder, TopK, fold_gate
from pipeline.sae.files import SaeFiles, Tensors, count_of, is_number, object_in
from pipeline.sae.training import Training, training_in

FILES = ("ae.pt",)
OPTIONAL_FILES = ("config.json",)

_CLASSES = {
    "AutoEncoder": {"encoder.weight", "encoder.bias", "bias"},
    "AutoEncoderNew": {"encoder.weight", "encoder.bias", "decoder.bias"},
    "AutoEncoderTopK": {"encoder.weight", "encoder.bias", "k"},
    "BatchTopKSAE": {"encoder.weight", "encoder.bias", "threshold"},
    "MatryoshkaBatchTopKSAE": {"W_enc", "b_enc", "threshold", "group_sizes"},
    "GatedAutoEncoder": {"encoder.weight", "r_mag", "gate_bias", "mag_bias"},
    "JumpReluAutoEncoder": {"W_enc", "b_enc", "threshold"},
}
"""The classes that are read, each with tensors by which it is recognised if there is no config."""

_COMMON = {"encoder.weight", "decoder.weight", "W_enc", "W_dec", "b_dec", "bias", "decoder_bias"}
_OF_TOP_K = {"k", "threshold"}

_RELU = {"AutoEncoder", "AutoEncoderNew"}
_ADD_B_DEC_ALONE = {"AutoEncoderNew", "JumpReluAutoEncoder"}

_HOOKS = {
    "resid_post": "hook_resid_post",
    "resid_out": "hook_resid_post",
    "attn_out": "hook_attn_out",
    "mlp_out": "hook_mlp_out",
}
"""The outputs of a layer, its attention and its MLP, as dictionary_learning's own scripts call them, and as
TransformerLens does below `blocks.{l}`. Any other name is kept, such as `resid_pre_layer_3`."""
_PLACE = rf"({'|'.join(_HOOKS)})_layer_?(\d+)"


def load(files: SaeFiles) -> SparseCoder:
    """The coder in a dictionary_learning folder, float32. Raises SaeError if a file is damaged or inconsistent."""
    trainer = files.config("config.json").get("trainer", {})
    if not isinstance(trainer, dict):
        files.fail("config.json has no object 'trainer'")
    tensors = files.tensors("ae.pt")
    name = str(trainer.get("dict_class") or _class_of(tensors))
    if name not in _CLASSES:
        files.fail(f"config.json has dict_class '{name}', which is not one of {', '.join(_CLASSES)}")
    encoder, decoder = _matrices(tensors)
    n_features, d_in = encoder.shape
    b_dec = tensors.take("b_dec", d_in, others=("bias", "decoder_bias", "decoder.bias"))
    activation: Activation = RELU
    if name == "GatedAutoEncoder":
        parts = (tensors.take(part, n_features) for part in ("gate_bias", "mag_bias", "r_mag"))
        encoder, bias, activation = fold_gate(encoder, *parts)
    else:
        bias = tensors.take("encoder.bias", n_features, others=("b_enc",))
    k = trainer.get("k")
    declared = [each for each in (k, trainer.get("target_l0")) if is_number(each)]
    if name == "AutoEncoderTopK":
        activation = _top_k(tensors, k, n_features)
    elif name not in {*_RELU, "GatedAutoEncoder"}:
        activation = JumpReLU.above(tensors.take_threshold("threshold", n_features))
    tensors.check_names(_CLASSES[name] | _COMMON | (_OF_TOP_K if "TopK" in name else set()), f"class {name}")
    return SparseCoder(
        hookpoint=_hookpoint(files, trainer),
        encoder=encoder,
        encoder_bias=bias,
        decoder=decoder,
        activation=activation,
        input_bias=None if name in _ADD_B_DEC_ALONE else b_dec,
        decoder_bias=b_dec,
        architecture=name,
        folded="the gate, into a threshold" if name == "GatedAutoEncoder" else None,
        declared_l0=next(iter(declared), None),
    )


def trained_on(files: SaeFiles) -> Training:
    """The model and context length in config.json; whether contexts begin with a BOS is up to the tokenizer."""
    config = files.config("config.json")
    trained = {**object_in(config, "buffer"), **object_in(config, "trainer")}
    return training_in(trained, "config.json", model="lm_name", context_length="ctx_len")


def _class_of(tensors: Tensors) -> str:
    fitting = [name for name, own in _CLASSES.items() if own <= tensors.names()]
    if "MatryoshkaBatchTopKSAE" in fitting:
        fitting = ["MatryoshkaBatchTopKSAE"]
    if len(fitting) != 1:
        one_of = " or ".join(fitting) or f"no known class: {', '.join(sorted(tensors.names()))}"
        tensors.fail(f"no config.json beside it names the class, and the tensors are those of {one_of}")
    return fitting[0]


def _matrices(tensors: Tensors) -> tuple[Tensor, Tensor]:
    """Encoder and decoder, [n, d_in]."""
    if "W_enc" in tensors.names():
        encoder = tensors.take("W_enc", None, None).T.contiguous()
        return encoder, tensors.take("W_dec", *encoder.shape)
    encoder = tensors.take("encoder.weight", None, None)
    n_features, d_in = encoder.shape
    return encoder, tensors.take("decoder.weight", d_in, n_features).T.contiguous()


def _top_k(tensors: Tensors, declared: Any, n_features: int) -> TopK:
    stored = tensors.take_if_there("k")
    k = count_of(declared if stored is None else stored.item(), n_features, tensors.fail, "k is")
    if declared not in (None, k):  # it may be a list
        tensors.fail(f"k is {k}, but its config.json says {declared}")
    return TopK(k)


def _hookpoint(files: SaeFiles, trainer: dict[str, Any]) -> str | None:
    """The hookpoint in config or path; `resid_post_layer_3` and `mlp_out_layer3` get TransformerLens' names."""
    name = str(trainer.get("submodule_name") or "")
    found = re.fullmatch(_PLACE, name) if name else files.find_in_path(rf"/{_PLACE}/")
    return f"blocks.{found[2]}.{_HOOKS[found[1]]}" if found else name or None
