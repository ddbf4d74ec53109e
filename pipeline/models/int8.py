"""A causal language model with int8 weights: a quarter of float32's memory, and several times its speed.

The rows (output channels) of every linear layer and embedding are stored as int8, with one scale per row. On a CPU
a layer's inputs are also rounded to int8, with one scale per token, so that the product is an exact product of
integers, computed by torch's oneDNN kernel. On a GPU that rounding takes longer than the product (an H100 read a
third of the tokens that it reads in bfloat16), so a layer's weights are unpacked when it is used. Norms, attention
and everything else stay in the model's dtype.

transformers loads such a model with the quantizer that this module registers (`int8_conversion` makes one).
"""

import time
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.core_model_loading import ConversionOps
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

METHOD = "latentlake_int8"

_ROWS_AT_ONCE = 8192
"""Rows of a weight rounded at a time, so that a large one is never copied as a whole."""

_MULTIPLE = 16
"""Matrices whose sizes are not multiples of it are left as they are, because integer kernels require multiples."""


class Int8Linear(nn.Module):
    """A linear layer of int8 weights [n_out, n_in] with a float32 scale [n_out]."""

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self._packed: Tensor | None = None
        self.weight, self.scale = _empty(linear.weight)
        self.register_parameter("bias", linear.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """The product [..., n_out] with inputs [..., n_in], in their dtype; a CPU rounds the inputs to 8 bits."""
        if inputs.device.type != "cpu":
            return nn.functional.linear(inputs, self.unpacked(inputs.dtype), self.bias)
        # Inputs are s r and weights t w, with integers r and w and a scale s per token and t per output: the
        # product is s t times that of the integers, which is exact.
        rows = inputs.reshape(-1, inputs.shape[-1])
        rounded, scales = round_rows(rows)
        product: Tensor
        if self._packed is not None:
            product = _multiply(rounded, self._packed, self.scale, self._zeros, fastest_kernel(inputs.dtype))
            product = product.to(inputs.dtype)  # with two dtypes, the next line takes four times as long
            product = product.mul_(scales.to(inputs.dtype))
        else:
            product = (torch._int_mm(rounded, self.weight.t()) * self.scale).mul_(scales).to(inputs.dtype)
        if self.bias is not None:
            product += self.bias
        return product.view(*inputs.shape[:-1], -1)

    def unpacked(self, dtype: torch.dtype) -> Tensor:
        """The weights [n_out, n_in] that the integers and scales represent."""
        return (self.weight * self.scale[:, None]).to(dtype)

    def pack(self) -> None:
        """Replace the weights by a copy in the layout that the CPU's kernel reads."""
        self._packed = torch.ops.onednn.qlinear_prepack(self.weight.data, None)
        self._zeros = torch.zeros(len(self.weight), dtype=torch.long)
        self.register_parameter("weight", None)


class Int8Embedding(nn.Module):
    """An embedding of int8 weights [n_tokens, width] with a float32 scale [n_tokens]."""

    def __init__(self, embedding: nn.Embedding) -> None:
        super().__init__()
        self.weight, self.scale = _empty(embedding.weight)
        self._dtype = embedding.weight.dtype

    def forward(self, token_ids: Tensor) -> Tensor:
        """The rows of tokens, in the model's dtype [..., width]."""
        rows = self.weight[token_ids].float() * self.scale[token_ids][..., None]
        return rows.to(self._dtype)


def _empty(weight: Tensor) -> tuple[nn.Parameter, nn.Parameter]:
    whole = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
    scale = torch.empty(len(weight), dtype=torch.float32, device=weight.device)
    return nn.Parameter(whole, requires_grad=False), nn.Parameter(scale, requires_grad=False)


def round_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows [n, width] as int8, scaled by their largest absolute value, and the scales [n, 1] to restore them."""
    from pipeline.models.rounding import round_on_cpu  # numba takes a while to import

    return round_on_cpu(rows)


class Kernel(NamedTuple):
    """A way to multiply bytes on a CPU: whether inputs are read as unsigned, and the dtype of the result."""

    is_unsigned: bool
    dtype: torch.dtype


@cache
def fastest_kernel(dtype: torch.dtype) -> Kernel:
    """The fastest kernel for a model of that dtype, by a short trial; all kernels give the same products.

    Where oneDNN has no kernel, it uses a reference implementation, thousands of times slower: for signed bytes on
    AVX-512 without AMX (AMD's Zen 4 and 5, Intel before Sapphire Rapids), for results in bfloat16 on AVX2.
    """
    rows, weight = torch.ones(32, 256, dtype=torch.int8), torch.ones(256, 256, dtype=torch.int8)
    packed = torch.ops.onednn.qlinear_prepack(weight, None)
    scale, zeros = torch.ones(256), torch.zeros(256, dtype=torch.long)

    def took(kernel: Kernel) -> float:
        seconds = []
        for _ in range(3):
            started = time.perf_counter()
            _multiply(rows, packed, scale, zeros, kernel).to(dtype)
            seconds.append(time.perf_counter() - started)
        return min(seconds)

    return min((Kernel(each, to) for to in {dtype, torch.float32} for each in (False, True)), key=took)


def _multiply(rows: Tensor, packed: Tensor, scale: Tensor, zeros: Tensor, kernel: Kernel) -> Tensor:
    """The product of int8 rows [n, n_in] and packed weights, times the scale of each output, [n, n_out]."""
    zero = 0
    if kernel.is_unsigned:  # with the sign bit flipped, bytes are 128 more; the kernel takes the zero off again
        rows, zero = rows.view(torch.uint8) ^ 128, 128
    product: Tensor = torch.ops.onednn.qlinear_pointwise(
        rows, 1.0, zero, packed, scale, zeros, None, 1.0, 0, kernel.dtype, "none", [], ""
    )
    return product


@cache
def overflows() -> bool:
    """Whether this CPU's int8 products overflow: without VNNI, pairs of products are added in 16 bits."""
    rows = torch.full((32, 64), torch.iinfo(torch.int8).max, dtype=torch.int8)
    return not torch.equal(torch._int_mm(rows, rows.t()), rows.int() @ rows.int().t())


def _has_kernel() -> bool:
    return torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call, no-any-return]


def make_ready(model: Any) -> None:
    """Prepare a loaded int8 model for a CPU: pack its weights, and use 7 bits where products would overflow.

    The head keeps its layout, because it may also be the embedding.
    """
    head = model.get_output_embeddings()
    for parameter in model.parameters():
        if parameter.dtype != torch.int8:  # a copy, so that the file of the packed weights can be unmapped
            parameter.data = parameter.data.clone()
    halved: set[int] = set()
    for module in model.modules():
        if not isinstance(module, Int8Linear | Int8Embedding):
            continue
        if overflows() and id(module.scale) not in halved:  # the head may share the embedding's
            halved.add(id(module.scale))
            module.weight.data.div_(2, rounding_mode="trunc")
            module.scale.data.mul_(2)
        if isinstance(module, Int8Linear) and module is not head and _has_kernel():
            module.pack()


@register_quantization_config(METHOD)
class Int8Config(QuantizationConfigMixin):  # type: ignore[misc]
    """The entry in a conversion's config.json that describes its weights."""

    def __init__(self, quant_method: str = METHOD) -> None:
        super().__init__(quant_method)


@register_quantizer(METHOD)
class Int8Quantizer(HfQuantizer):  # type: ignore[misc]
    """Tells transformers which layers are int8, and how to convert a weight that is not int8 yet."""

    def _process_model_before_weight_loading(self, model: Any, **_: Any) -> Any:
        names = {name for name, module in model.named_modules() if _can_be_int8(module)}
        tied = model.all_tied_weights_keys
        for pair in tied.items():
            owners = {name.rpartition(".")[0] for name in pair}
            if not owners <= names:  # for example, a head tied to an embedding that scales its output
                names -= owners
        for name in names:
            module = model.get_submodule(name)
            kind = Int8Linear if isinstance(module, nn.Linear) else Int8Embedding
            model.set_submodule(name, kind(module))
        for target, source in list(tied.items()):
            if target.rpartition(".")[0] in names:
                tied[_scale_of(target)] = _scale_of(source)
        model._tied_weights_keys = dict(tied)  # so that they are saved as one tensor
        return model

    def param_needs_quantization(self, model: Any, param_name: str, **_: Any) -> bool:
        """Whether a parameter is the weight of an int8 layer."""
        owner, kind = param_name.rsplit(".", 1)
        return kind == "weight" and isinstance(model.get_submodule(owner), Int8Linear | Int8Embedding)

    def get_quantize_ops(self) -> "RoundWeight":
        """The operation that converts such a weight."""
        return RoundWeight()

    def is_serializable(self) -> bool:
        """It can be saved."""
        return True

    @property
    def is_trainable(self) -> bool:
        """It cannot be trained."""
        return False


class RoundWeight(ConversionOps):  # type: ignore[misc]
    """Rounds a weight [n, width] to int8 with a scale per row."""

    def convert(self, input_dict: dict[str, Any], full_layer_name: str, **_: Any) -> dict[str, Tensor]:
        """The int8 weight and its scale, by the names of their parameters."""
        [given] = input_dict.values()
        weight: Tensor = given[0] if isinstance(given, list) else given
        rounded = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
        scales = torch.empty(len(weight), dtype=torch.float32, device=weight.device)
        for start in range(0, len(weight), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            rounded[part], found = round_rows(weight[part].float())
            scales[part] = found[:, 0]
        return {full_layer_name: rounded, _scale_of(full_layer_name): scales}


def _scale_of(weight: str) -> str:
    return weight.removesuffix("weight") + "scale"


def _can_be_int8(module: nn.Module) -> bool:
    """Whether a module is a plain layer of suitable size; a subclass may do more than its base."""
    if type(module) not in {nn.Linear, nn.Embedding}:
        return False
    return all(size % _MULTIPLE == 0 for size in module.weight.shape)  # type: ignore[union-attr]
