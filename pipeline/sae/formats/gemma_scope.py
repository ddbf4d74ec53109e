"""Gemma Scope: `params.npz` in `layer_{l}/width_{n}/average_l0_{l0}/` of gemma-scope-{size}-{pt,it}-{res,att,mlp}.

Arrays: W_enc or w_enc [d_in, n], W_dec [n, d_out], b_enc [n], b_dec [d_out], threshold [n]. JumpReLU; b_dec is not
subtracted from the input. Only the path gives hookpoint and L0. Transcoders read the output of the MLP's RMSNorm
before its gain, which was folded into the MLP for their training (README of gemma-scope-2b-pt-transcoders). An
embedding SAE was trained on the embeddings as stored. What the model reads, and what transformers returns from
5.23 on, is these times sqrt(d_in); so the encoder is divided by that here, and the decoder and b_dec are
multiplied by it. Based on SAELens 6.54's loader, which leaves b_dec as it is.
"""

from collections.abc import Mapping

from pipeline.sae.coder import JumpReLU, SparseCoder
from pipeline.sae.files import SaeFiles
from pipeline.sae.training import SAELENS_LOADER, Fact, Training

FILES = ("params.npz",)

_ARRAYS = ("W_enc", "w_enc", "W_dec", "w_dec", "b_enc", "b_dec", "threshold")

_HOOKPOINTS = {
    "res": "hook_resid_post",
    "att": "attn.hook_z",
    "mlp": "hook_mlp_out",
    "transcoders": "ln2.hook_normalized",
}
"""The hookpoint of each repository's SAEs, below `blocks.{l}`."""

_EMBEDDING = "hook_embed"


def load(files: SaeFiles) -> SparseCoder:
    """The coder in a Gemma Scope folder, float32. Raises SaeError if a file is damaged or inconsistent."""
    arrays = files.tensors("params.npz")
    encoder = arrays.take("W_enc", None, None, others=("w_enc",)).T.contiguous()
    n_features, d_in = encoder.shape
    traits = outside(files)
    transcodes, is_embedding = traits["transcodes"], traits["is_embedding"]
    decoder = arrays.take("W_dec", n_features, None if transcodes else d_in, others=("w_dec",))
    arrays.check_names(_ARRAYS, "this format")
    l0 = files.find_in_path(r"average_l0_(\d+)")
    scale = d_in**0.5 if is_embedding else 1.0
    return SparseCoder(
        hookpoint=_hookpoint(files),
        encoder=encoder / scale,
        encoder_bias=arrays.take("b_enc", n_features),
        decoder=decoder * scale,
        activation=JumpReLU.above(arrays.take("threshold", n_features)),
        decoder_bias=arrays.take("b_dec", decoder.shape[1]) * scale,
        transcodes=transcodes,
        architecture="jumprelu",
        folded="the embedding's scale, sqrt(d_in)" if is_embedding else None,
        declared_l0=float(l0[1]) if l0 else None,
    )


def outside(files: SaeFiles) -> Mapping[str, bool]:
    """Whether the path says that it is a transcoder, and whether it says that it reads the embedding."""
    hookpoint = _hookpoint(files) or ""
    return {"transcodes": hookpoint.endswith(_HOOKPOINTS["transcoders"]), "is_embedding": hookpoint == _EMBEDDING}


def trained_on(files: SaeFiles) -> Training:
    """The model in the repository's name; contexts of 1,024 tokens after a BOS token."""
    repository = files.find_in_path(r"(gemma-scope)(-\d+b)-(?:pt|(it))-")
    model = None
    if repository:
        _, size, tuned = repository.groups()
        model = Fact(f"google/gemma-2{size}{'-it' if tuned else ''}", f"its repository's name, {repository[0]}…")
    return Training(model, Fact(1024, SAELENS_LOADER), Fact(True, SAELENS_LOADER))


def _hookpoint(files: SaeFiles) -> str | None:
    """The hookpoint by TransformerLens' name, if the path gives it."""
    if files.find_in_path(r"/embedding/width_[^/]+/[^/]+/[^/]+$"):
        return _EMBEDDING
    kind = files.find_in_path(rf"gemma-scope-\w+-(?:pt|it)-({'|'.join(_HOOKPOINTS)})")
    layer = files.find_in_path(r"layer_(\d+)")
    return f"blocks.{layer[1]}.{_HOOKPOINTS[kind[1]]}" if kind and layer else None
