"""Gemma Scope 2: `params.safetensors` in `{resid_post,attn_out,mlp_out,transcoder}[_all]/layer_{l}_width_…_l0_…/`.

Tensors: w_enc [d_in, n], w_dec [n, d_out], b_enc [n], b_dec [d_out], threshold [n]; an affine transcoder also has
affine_skip_connection [d_in, d_out]. JumpReLU; b_dec is not subtracted from the input. `config.json`, which may be
absent, names the hookpoint; without it the path does. Based on SAELens 6.54's loader and Google's tutorial.
"""

from collections.abc import Mapping

from pipeline.sae.coder import JumpReLU, SparseCoder
from pipeline.sae.files import SaeFiles, is_number, text_in
from pipeline.sae.hub_names import hub_name
from pipeline.sae.training import SAELENS_LOADER, Fact, Training, training_in

FILES = ("params.safetensors",)
OPTIONAL_FILES = ("config.json",)

_TENSORS = ("w_enc", "w_dec", "b_enc", "b_dec", "threshold", "affine_skip_connection")

_HOOKPOINTS = {
    "resid_post": "output",
    "attn_out": "self_attn.o_proj.input",
    "mlp_out": "post_feedforward_layernorm.output",
    "transcoder": "pre_feedforward_layernorm.output",
}
"""What the SAEs in each kind of folder read, below `model.layers.{l}`."""


def load(files: SaeFiles) -> SparseCoder:
    """The coder in a Gemma Scope 2 folder, float32. Raises SaeError if a file is damaged or inconsistent."""
    config, tensors = files.config("config.json"), files.tensors("params.safetensors")
    crossed = files.find_in_path(r"/(crosscoder|clt)(_all)?/[^/]+/[^/]+$")
    kind = crossed[1] if crossed else config.get("type", "sae")
    if kind not in ("sae", "transcoder"):  # it may be a list
        files.fail(f"it is a {kind}, which reads or writes several layers; latentlake reads one hookpoint")
    architecture = config.get("architecture", "jump_relu")
    if architecture != "jump_relu":
        files.fail(f"config.json has architecture '{architecture}', not 'jump_relu'")
    encoder = tensors.take("w_enc", None, None)  # [d_in, n]
    d_in, n_features = encoder.shape
    hookpoint = text_in(config, "hf_hook_point_in") or _hookpoint(files)
    transcodes = outside(files)["transcodes"]
    decoder = tensors.take("w_dec", n_features, None if transcodes else d_in)
    d_out = decoder.shape[1]
    is_affine = config.get("affine_connection", files.find_in_path(r"_affine/[^/]+$") is not None) is True
    skip = tensors.take_if_there("affine_skip_connection", d_in, d_out, must_be=is_affine)
    tensors.check_names(_TENSORS, "this format")
    l0 = config.get("l0")
    return SparseCoder(
        hookpoint=hookpoint,
        encoder=encoder.T.contiguous(),
        encoder_bias=tensors.take("b_enc", n_features),
        decoder=decoder,
        activation=JumpReLU.above(tensors.take("threshold", n_features)),
        decoder_bias=tensors.take("b_dec", d_out),
        skip=None if skip is None else skip.T.contiguous(),
        transcodes=transcodes,
        target=text_in(config, "hf_hook_point_out") if transcodes else None,
        architecture=architecture,
        declared_l0=l0 if is_number(l0) else None,
    )


def outside(files: SaeFiles) -> Mapping[str, bool]:
    """Whether config.json or the path says that it is a transcoder."""
    config = files.config("config.json")
    hookpoint, target = text_in(config, "hf_hook_point_in") or _hookpoint(files), config.get("hf_hook_point_out")
    is_in_such_folder = files.find_in_path(r"/transcoder(_all)?/[^/]+/[^/]+$") is not None
    is_named_so = is_in_such_folder or config.get("type") == "transcoder"
    return {"transcodes": target not in (None, hookpoint) or is_named_so}


def trained_on(files: SaeFiles) -> Training:
    """The model in the repository's name or in config.json; contexts of 1,024 tokens after a BOS token."""
    model = training_in(files.config("config.json"), "config.json", model="model_name").model
    if repository := files.find_in_path(r"gemma-scope-2-(\d+[mb]-(?:pt|it))"):
        name = hub_name(f"gemma-3-{repository[1]}")
        model = Fact(name, f"its repository's name, {repository[0]}") if name else model
    return Training(model, Fact(1024, SAELENS_LOADER), Fact(True, SAELENS_LOADER))


def _hookpoint(files: SaeFiles) -> str | None:
    """The hookpoint in the path, written as in config.json."""
    found = files.find_in_path(rf"({'|'.join(_HOOKPOINTS)})(_all)?/layer_(\d+)_")
    if found is None:
        return None
    return f"model.layers.{found[3]}.{_HOOKPOINTS[found[1]]}"
