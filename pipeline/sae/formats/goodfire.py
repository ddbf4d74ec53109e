"""Goodfire's SAEs for Llama: one `.pth` or `.pt` file, whose name says the layer (`…-SAE-l19.pth`).

Tensors: encoder_linear.weight [n, d_in], encoder_linear.bias [n], decoder_linear.weight [d_in, n],
decoder_linear.bias [d_in]. ReLU; nothing is subtracted from the input. Read from SAELens 6.54's loader.
"""

from pipeline.sae.coder import RELU, SparseCoder
from pipeline.sae.files import SaeFiles

FILES = ("*.pt*",)


def is_format(files: SaeFiles) -> bool:
    """Whether the file has an encoder of that name."""
    return "encoder_linear.weight" in files.tensors("*.pt*").names()


def load(files: SaeFiles) -> SparseCoder:
    """The coder in a file of Goodfire's, float32. Raises SaeError if it is damaged or does not fit."""
    tensors = files.tensors("*.pt*")
    encoder = tensors.take("encoder_linear.weight", None, None)
    n_features, d_in = encoder.shape
    layer = files.find_in_path(r"-SAE-l(\d+)\.pth?$")
    return SparseCoder(
        hookpoint=f"blocks.{layer[1]}.hook_resid_post" if layer else None,
        encoder=encoder,
        encoder_bias=tensors.take("encoder_linear.bias", n_features),
        decoder=tensors.take("decoder_linear.weight", d_in, n_features).T.contiguous(),
        activation=RELU,
        decoder_bias=tensors.take("decoder_linear.bias", d_in),
        architecture="standard",
    )
