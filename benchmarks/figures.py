"""Figures: measured in separate processes, printed with their targets, written as JSON."""

import argparse
import json
import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"

Result = TypeVar("Result")


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        name: What was measured, in snake case, with the unit where that helps.
        value: The number.
        unit: Unit of the value, target and limit.
        target: What the value should reach; null if there is no target.
        better: Whether lower or higher is better.
        limit: What the machine allows (copying the bytes, the bare forward pass), in the same run; null if none.
        note: What was counted, in a few words.
    """

    name: str
    value: float
    unit: str
    target: float | None = None
    better: Literal["lower", "higher"] = "lower"
    limit: float | None = None
    note: str = ""

    @property
    def sign(self) -> str:
        """How a value that reaches its target compares with it."""
        return "≤" if self.better == "lower" else "≥"

    @property
    def is_reached(self) -> bool | None:
        """Whether the target is reached; None if there is none."""
        if self.target is None:
            return None
        return self.value <= self.target if self.better == "lower" else self.value >= self.target


class Measured(NamedTuple, Generic[Result]):
    """The result of a piece of work, its CPU and wall seconds, and the peak resident memory of its process."""

    result: Result
    cpu_s: float
    wall_s: float
    peak_gib: float


def measured(work: Callable[..., Result], *arguments: Any) -> Measured[Result]:
    """Run work in a new process, so that its memory is measured alone; module-level imports are not timed."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measure, work, arguments).result()


def cpu_s(work: Callable[[], object]) -> float:
    """The CPU seconds of work in this process."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def scale_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """The command line of a benchmark that has both scales; it may add further options."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--scale", choices=("small", "large"), default="small")
    return parser


def publish(name: str, figures: Sequence[Figure], scale: str = "small") -> Path:
    """Print figures beside their targets and write `results/<name>.json`, or `results/<name>_large.json`."""
    name = name if scale == "small" else f"{name}_{scale}"
    table = Table(title=name, title_justify="left")
    for column, justify in (("figure", "left"), ("value", "right"), ("target", "right"), ("limit", "right")):
        table.add_column(column, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("what")
    for figure in figures:
        mark = {True: "[green]", False: "[red]", None: ""}[figure.is_reached]
        table.add_row(
            figure.name,
            f"{mark}{figure.value:,.4g} {figure.unit}",
            "" if figure.target is None else f"{figure.sign} {figure.target:,.4g}",
            "" if figure.limit is None else f"{figure.limit:,.4g}",
            figure.note,
        )
    Console(width=None if os.isatty(1) else 140).print(table)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    content = {
        "figures": [asdict(figure) for figure in figures],
        "machine": machine(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def machine() -> str:
    """The machine in one line: GPU if there is one, cores, memory, processor, Python and torch."""
    import torch  # here, so that it does not add to the peak of a step that does not load it

    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    processor = names[0] if names else platform.processor()
    gpu = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    return (
        f"{gpu}{os.cpu_count()} cores ({processor}), {memory:.0f} GiB, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def _measure(work: Callable[..., Result], arguments: Sequence[Any]) -> Measured[Result]:
    cpu, wall = time.process_time(), time.monotonic()
    result = work(*arguments)
    return Measured(result, time.process_time() - cpu, time.monotonic() - wall, _peak_gib())


def _peak_gib() -> float:
    """VmHWM, which unlike getrusage's figure does not start from the parent's."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**20
