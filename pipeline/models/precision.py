"""The precision of language models in this process: from the config, or the fastest here.

On a CPU without bfloat16 instructions, a product in bfloat16 takes about 40 times as long as one in float32; with
them, less than half. So `auto` measures. A lake records the outcome (`sources`), because another precision gives
different rows.
"""

import time
from functools import cache

import torch

_ROWS = 1024
_LEAST_TRIALS, _MOST_TRIALS = 3, 20
_SECONDS = 1.0
"""After the least number of trials, they go on for so long."""
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

    The best of some trials in turn: the first call of a kernel takes longer, and on a busy machine others take the
    processor from half of the calls.
    """
    samples = {dtype: torch.ones((_ROWS, width), dtype=dtype) for dtype in (torch.bfloat16, torch.float32)}
    best = dict.fromkeys(samples, float("inf"))
    started = time.perf_counter()
    for trial in range(_MOST_TRIALS):
        if trial >= _LEAST_TRIALS and time.perf_counter() - started > _SECONDS:
            break
        for dtype, sample in samples.items():
            best[dtype] = min(best[dtype], _seconds(sample))
    return min(best, key=best.__getitem__)


def _seconds(sample: torch.Tensor) -> float:
    """How long a product takes by the clock."""
    started = time.perf_counter()
    torch.nn.functional.linear(sample, sample)
    return time.perf_counter() - started
