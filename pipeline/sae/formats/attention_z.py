"""The attention SAEs of GPT-2 small by Kissane and Conmy: one `.pt` file, named for the layer (`…_L5_Hcat_z_…`).

Tensors: W_enc [d_in, n], b_enc [n], W_dec [n, d_in], b_dec [d_in], where d_in is all heads of a layer
concatenated. ReLU of (x - b_dec) W_enc + b_enc. Based on SAELens 6.54's loader.
"""

from pipeline.sae.coder import RELU, SparseCoder
from pipeline.sae.files import SaeFiles
from pipeline.sae.training import SAELENS_LOADER, Fact, Training

FILES = ("*_Hcat_z_*.pt",)


def load(files: SaeFiles) -> SparseCoder:
    """The coder in such a file, float32. Raises SaeError if it is damaged or its shapes do not match."""
    tensors = files.tensors(FILES[0])
    encoder = tensors.take("W_enc", None, None).T.contiguous()
    n_features, d_in = encoder.shape
    b_dec = tensors.take("b_dec", d_in)
    layer = files.find_in_path(r"_L(\d+)_Hcat_z_[^/]*$")
    return SparseCoder(
        hookpoint=f"blocks.{layer[1]}.attn.hook_z" if layer else None,
        encoder=encoder,
        encoder_bias=tensors.take("b_enc", n_features),
        decoder=tensors.take("W_dec", n_features, d_in),
        activation=RELU,
        input_bias=b_dec,
        decoder_bias=b_dec,
        architecture="standard",
    )


def trained_on(files: SaeFiles) -> Training:
    """GPT-2 small, on contexts of 128 tokens after a BOS token."""
    model = Fact("openai-community/gpt2", "its format, which is only used for GPT-2 small")
    return Training(model, Fact(128, SAELENS_LOADER), Fact(True, SAELENS_LOADER))
