"""How long `make demo` takes after the setup, into an empty folder, with everything that it converts and compiles.

It runs three times: on all cores, with the instructions of AVX2 alone, which most computers have, and on one core.
It takes the machine for itself: whatever else runs is measured, too.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.figures import Figure, publish

SCALES = ("large",)


class Way(NamedTuple):
    """A way to run the demo: the figure's name, the longest it should take, its instructions and its cores."""

    name: str
    target_s: float
    note: str
    environment: Mapping[str, str] = {}
    one_core: bool = False


WAYS = (
    Way("all_cores_s", 300, "with the faster of bfloat16 and float32"),
    Way(
        "avx2_s",
        480,
        "without AVX-512, bfloat16 and AMX",
        {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    ),
    Way("one_core_s", 900, "as the first", one_core=True),
)


def main() -> None:
    """Measure, print, write `results/demo.json`."""
    publish("demo", [Figure(way.name, _seconds(way), "s", way.target_s, note=way.note) for way in WAYS])


def _seconds(way: Way) -> float:
    """Seconds of one run of the demo into an empty folder of lakes."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        started = time.monotonic()
        with log.open("w", encoding="utf-8") as out:
            done = subprocess.run(
                [sys.executable, "-m", "assets.command", "demo"],
                env={**os.environ, **way.environment, "LATENTLAKE_LAKE": str(Path(folder) / "lake")},
                stdout=out,
                stderr=subprocess.STDOUT,
                check=False,
                preexec_fn=_keep_one_core if way.one_core else None,
            )
        seconds = time.monotonic() - started
        assert done.returncode == 0, log.read_text(encoding="utf-8")
    return seconds


def _keep_one_core() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


if __name__ == "__main__":
    main()
