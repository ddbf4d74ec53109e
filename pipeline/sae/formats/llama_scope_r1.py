"""Llama Scope's SAEs for DeepSeek-R1-Distill: `config.json` and `sae_weights.safetensors`.

Tensors: encoder.weight [n, d_in], encoder.bias [n], decoder.weight [d_in, n], decoder.bias [d_in] and
log_jumprelu_threshold, [n] or one for all. Inputs are scaled to an average norm of sqrt(d_in): by sqrt(d_in) / the
tensor dataset_average_activation_norm.<hook_point_in>, or by a factor from config.json or SAELens' registry. If
sparsity_include_decoder_norm is true, a feature's activation times the norm of its decoder row decides whether it
fires, as in `llama_scope`; the thresholds were trained, and apply to scaled inputs. Based on OpenMOSS' lm_saes.
"""

from pipeline.sae.coder import JumpReLU, SparseCoder, fold_norms
from pipeline.sae.files import SaeFiles, Tensors, is_number, text_in
from pipeline.sae.formats.llama_scope import check_function, fires_by_norm
from pipeline.sae.training import SAELENS_LOADER, Fact, Training

FILES = ("config.json", "sae_weights.safetensors")

_NORM = "dataset_average_activation_norm"


def is_format(files: SaeFiles) -> bool:
    """Whether the file has log_jumprelu_threshold, which SAELens' own files do not have."""
    return "log_jumprelu_threshold" in files.tensors("sae_weights.safetensors").names()


def load(files: SaeFiles) -> SparseCoder:
    """The coder in such a folder, float32. Raises SaeError if a file is damaged or inconsistent."""
    config, tensors = files.config("config.json"), files.tensors("sae_weights.safetensors")
    check_function(files, config, "config.json")
    encoder = tensors.take("encoder.weight", None, None)
    n_features, d_in = encoder.shape
    if config.get("d_model", d_in) != d_in:
        tensors.fail(f"its width is {d_in}, but its config.json says d_model {config['d_model']}")
    hookpoint = text_in(config, "hook_point_in")
    factor = _factor(files, tensors, d_in)
    scale = factor or 1.0
    encoder, bias = encoder * scale, tensors.take("encoder.bias", n_features)
    decoder = tensors.take("decoder.weight", d_in, n_features).T.contiguous()
    folded = [f"the factor of its inputs' norm, {scale:.6g}"] if factor else []
    if fires_by_norm(config):
        encoder, bias, decoder = fold_norms(encoder, bias, decoder)
        folded.append("the norms of the decoder")
    return SparseCoder(
        hookpoint=hookpoint,
        encoder=encoder,
        encoder_bias=bias,
        decoder=decoder / scale,
        activation=JumpReLU.above(tensors.take_threshold("log_jumprelu_threshold", n_features).exp()),
        decoder_bias=tensors.take("decoder.bias", d_in) / scale,
        architecture="jumprelu",
        folded="; ".join(folded) or None,
    )


def trained_on(files: SaeFiles) -> Training:
    """The distilled Llama 3.1 8B; contexts of 1,024 tokens after a BOS token."""
    origin = "its format, which is that of Llama-Scope-R1-Distill"
    model = Fact("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", origin, is_guess=True)
    return Training(model, Fact(1024, SAELENS_LOADER), Fact(True, SAELENS_LOADER))


def _factor(files: SaeFiles, tensors: Tensors, d_in: int) -> float | None:
    """The factor by which inputs are multiplied; None if they are not."""
    config = files.config("config.json")
    factor = files.overrides.get("norm_scaling_factor", config.get("norm_scaling_factor"))
    if factor is not None:
        if not is_number(factor) or factor <= 0:
            files.fail(f"config.json has norm_scaling_factor {factor!r}, not a number above 0")
        return float(factor)
    how = config.get("norm_activation", "dataset-wise")
    if how == "inference":  # the factor is in the weights; its tensor may remain
        return None
    if how != "dataset-wise":
        files.fail(f"config.json has norm_activation '{how}', not 'dataset-wise' or 'inference'")
    norm = tensors.take_if_there(name := f"{_NORM}.{config.get('hook_point_in')}")
    if norm is None:
        files.fail(
            f"its inputs are scaled by a factor that its files lack (tensor {name}); name it as "
            "saelens://RELEASE/ID, or add norm_scaling_factor to its config.json"
        )
    if norm <= 0:
        tensors.fail(f"{name} is {norm.item():g}, not a number above 0")
    return float(d_in**0.5 / norm)
