"""Goodfire's SAEs for Llama, and qresearch's for DeepSeek-R1-Distill: one `.pth` or `.pt` file.

Tensors: encoder_linear.weight [n, d_in], encoder_linear.bias [n], decoder_linear.weight [d_in, n] and
decoder_linear.bias [d_in]; qresearch's names lack `_linear`. ReLU; nothing is subtracted from the input. The
file's name gives the layer (`…-SAE-l19.pth`). Based on SAELens 6.54's loaders.
"""

from pipeline.sae.coder import RELU, SparseCoder
from pipeline.sae.files import SaeFiles

FILES = ("*.pt*",)
_LAYER = r"-SAE-l(\d+)\.pth?$"


def is_format(files: SaeFiles) -> bool:
    """Whether the file has an `encoder_linear`, or just two linear layers and a name like qresearch's.

    Under any other name, two linear layers could be any function.
    """
    names = files.tensors("*.pt*").names()
    linear = {f"{layer}.{kind}" for layer in ("encoder", "decoder") for kind in ("weight", "bias")}
    return "encoder_linear.weight" in names or (names == linear and files.find_in_path(_LAYER) is not None)


def load(files: SaeFiles) -> SparseCoder:
    """The coder in such a file, float32. Raises SaeError if it is damaged or its shapes do not match."""
    tensors = files.tensors("*.pt*")
    encoder = tensors.take("encoder_linear.weight", None, None, others=("encoder.weight",))
    n_features, d_in = encoder.shape
    layer = files.find_in_path(_LAYER)
    return SparseCoder(
        hookpoint=f"blocks.{layer[1]}.hook_resid_post" if layer else None,
        encoder=encoder,
        encoder_bias=tensors.take("encoder_linear.bias", n_features, others=("encoder.bias",)),
        decoder=tensors.take("decoder_linear.weight", d_in, n_features, others=("decoder.weight",)).T.contiguous(),
        activation=RELU,
        decoder_bias=tensors.take("decoder_linear.bias", d_in, others=("decoder.bias",)),
        architecture="standard",
    )
