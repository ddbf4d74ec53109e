"""The precision of language models in this process: from the config, or the fastest here.

On a CPU without bfloat16 instructions, a product in bfloat16 takes about 40 times as long as one in float32; with
them, less than half. So `auto` measures. A lake records the outcome (`sources`), because another precision gives
different rows.
"""

import time
from functools import cache

import torch

_ROWS = 1024
_TRIALS = 3
_MODEL_WIDTH = 576
"""Width of the trial products: that of the built-in model."""


def dtype_of(name: str, device: torch.device) -> torch.dtype:
    """The torch dtype of a config; `auto` is the fastest on the device."""
    found: torch.dtype = getattr(torch, fast_dtype(device) if name == "auto" else name)
    return found


@cache
def fast_dtype(device: torch.device) -> str:
    """bfloat16 on a GPU, or float16 if unsupported; on a CPU the faster of float32 and bfloat16, by trial."""
    match device.type:
        case "cuda":
            return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
        case "cpu":
            return str(faster_dtype(_MODEL_WIDTH)).removeprefix("torch.")
        case _:
            return "float32"


def faster_dtype(width: int) -> torch.dtype:
    """Whichever of bfloat16 and float32 this CPU multiplies [1024, width] matrices faster in.

    The best of a few short trials of each, because the first call of a kernel takes longer.
    """

    def seconds(dtype: torch.dtype) -> float:
        sample, best = torch.ones((_ROWS, width), dtype=dtype), float("inf")
        for _ in range(_TRIALS):
            started = time.perf_counter()
            torch.nn.functional.linear(sample, sample)
            best = min(best, time.perf_counter() - started)
        return best

    return min((torch.bfloat16, torch.float32), key=seconds)
