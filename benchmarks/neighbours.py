"""Exact nearest decoder directions: CPU seconds and memory on a random decoder and on a clustered one.

The limit is the bare product of the same blocks above the diagonal in the faster dtype, timed on a sample of them.
On a busy machine, CPU seconds are inflated because torch's threads wait for each other; OMP_NUM_THREADS=1 measures
the work alone.
"""

import os
import time
from pathlib import Path
from typing import Literal

import torch

from benchmarks.figures import Figure, measured, publish, scale_parser
from pipeline.features.neighbours import nearest
from pipeline.models.precision import faster_dtype

SCALES = ("small", "large")
WIDTH = 768
FEATURES = {"small": 32_768, "large": 131_072}
TARGET_CPU_S = {"small": None, "large": 120.0}

_BLOCK = 4096
_SAMPLED_BLOCKS = 12
_CLUSTER = 64

Kind = Literal["random", "clustered"]


def decoder(n_features: int, kind: Kind) -> torch.Tensor:
    """Directions float32 [n_features, WIDTH]: independent, or in clusters of 64 with all degrees of similarity."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(n_features, WIDTH, generator=generator)
    if kind == "clustered":
        centres = torch.randn(n_features // _CLUSTER, WIDTH, generator=generator)
        spread = 0.1 + torch.rand(n_features, 1, generator=generator)
        members = torch.randint(len(centres), (n_features,), generator=generator)
        directions.mul_(spread).add_(centres[members])
    return directions


def search(n_features: int, kind: Kind) -> tuple[float, float]:
    """CPU seconds of the search alone, and the resident GiB before it."""
    directions = decoder(n_features, kind)
    resident, started = resident_gib(), time.process_time()
    nearest(directions)
    return time.process_time() - started, resident


def bare_product(n_features: int) -> float:
    """CPU seconds of all blocks on and above the diagonal, from a sample of them."""
    dtype = faster_dtype(WIDTH)
    rows = decoder(2 * _BLOCK, "random").to(dtype)
    torch.nn.functional.linear(rows[:_BLOCK], rows[_BLOCK:])
    started = time.process_time()
    for _ in range(_SAMPLED_BLOCKS):
        torch.nn.functional.linear(rows[:_BLOCK], rows[_BLOCK:])
    side = n_features // _BLOCK
    return (time.process_time() - started) / _SAMPLED_BLOCKS * side * (side + 1) / 2


def resident_gib() -> float:
    """Resident memory of this process, in GiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**30


def main() -> None:
    """Measure and publish."""
    scale = scale_parser("neighbours", __doc__).parse_args().scale
    n_features = FEATURES[scale]
    limit = measured(bare_product, n_features).result
    figures = []
    kinds: tuple[Kind, ...] = ("random", "clustered")
    for kind in kinds:
        run = measured(search, n_features, kind)
        cpu_s, resident = run.result
        name = "" if kind == "random" else f"_{kind}"
        size = f"{n_features:,} x {WIDTH}, {kind}, top 10, {torch.get_num_threads()} threads"
        figures += [
            Figure(f"neighbours{name}_cpu_s", cpu_s, "CPU-s", TARGET_CPU_S[scale], limit=limit, note=size),
            Figure(
                f"neighbours{name}_peak_gib", run.peak_gib - resident, "GiB", 1.0, note="above the decoder itself"
            ),
        ]
    publish("neighbours", figures, scale)


if __name__ == "__main__":
    main()
