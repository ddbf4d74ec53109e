"""Llama Scope's SAEs for DeepSeek-R1-Distill: `config.json` and `sae_weights.safetensors`.

Tensors: encoder.weight [n, d_in], encoder.bias [n], decoder.weight [d_in, n], decoder.bias [d_in] and
log_jumprelu_threshold [n] or one. Inputs are scaled to the norm sqrt(d_in) on average, by a factor that the files
do not hold; SAELens' registry does. Read from SAELens 6.54's loader.
"""

from pipeline.sae.coder import JumpReLU, SparseCoder
from pipeline.sae.files import SaeFiles, is_number, text_in
from pipeline.sae.places import side_of
from pipeline.sae.training import SAELENS_LOADER, Fact, Training

FILES = ("config.json", "sae_weights.safetensors")


def is_format(files: SaeFiles) -> bool:
    """Whether the file has a threshold of that name, which SAELens' own do not have."""
    return "log_jumprelu_threshold" in files.tensors("sae_weights.safetensors").names()


def load(files: SaeFiles) -> SparseCoder:
    """The coder in such a folder, float32. Raises SaeError if a file is damaged or does not fit."""
    config, tensors = files.config("config.json"), files.tensors("sae_weights.safetensors")
    encoder = tensors.take("encoder.weight", None, None)
    n_features, d_in = encoder.shape
    if config.get("d_model", d_in) != d_in:
        tensors.fail(f"it is {d_in} wide, but its config.json says d_model {config['d_model']}")
    factor = files.overrides.get("norm_scaling_factor", config.get("norm_scaling_factor"))
    if factor is None and config.get("norm_activation", "dataset-wise") == "dataset-wise":
        files.fail(
            "its inputs are scaled by a factor that its files do not hold; name it as saelens://RELEASE/ID, or "
            "write norm_scaling_factor into its config.json"
        )
    if factor is not None and (not is_number(factor) or factor <= 0):
        files.fail(f"config.json has norm_scaling_factor {factor!r}, not a number above 0")
    scale = float(factor or 1)
    place = text_in(config, "hook_point_in")
    return SparseCoder(
        hookpoint=place,
        reads=side_of(place),
        encoder=encoder * scale,
        encoder_bias=tensors.take("encoder.bias", n_features),
        decoder=tensors.take("decoder.weight", d_in, n_features).T.contiguous() / scale,
        activation=JumpReLU.above(tensors.take_threshold("log_jumprelu_threshold", n_features).exp()),
        decoder_bias=tensors.take("decoder.bias", d_in) / scale,
        architecture="jumprelu",
        folded=f"the factor of its inputs' norm, {scale:.6g}" if factor else None,
    )


def trained_on(files: SaeFiles) -> Training:
    """The distilled Llama 3.1 8B; contexts of 1,024 tokens behind a BOS."""
    origin = "its format, which is that of Llama-Scope-R1-Distill"
    model = Fact("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", origin, is_guess=True)
    return Training(model, Fact(1024, SAELENS_LOADER), Fact(True, SAELENS_LOADER))
