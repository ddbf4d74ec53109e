"""The store and the SQL core at the post's size: write, merge, count and index, each step in its own process.

The data are synthetic (see `synthetic`); every step is the pipeline's own code, compiled beforehand. CPU seconds
are measured rather than wall time, because they depend less on other load. The limit for writing is the encoding
of rows that are already in order; for the statistics and the index it is one pass of DuckDB over every firing.
"""

import io
import shutil
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.figures import Figure, Measured, cpu_s, measured, publish, scale_parser
from benchmarks.kernels import measure_kernels
from benchmarks.synthetic import (
    SAE,
    SIZES,
    Size,
    Written,
    open_synthetic,
    plan_features,
    write_corpus,
    write_neighbours,
    write_shard,
)
from pipeline.compiled.inputs import Inputs
from pipeline.compiled.rendering import rendered_windows
from pipeline.features.selection import write_selected_features
from pipeline.firings.buckets import open_corpus_tokens
from pipeline.firings.files import ENCODING
from pipeline.firings.layout import BUCKET_FEATURES, bucket_path
from pipeline.firings.store import write_activations
from pipeline.make_table import make_table, open_rows, read_rows

SCALES = ("small", "large")

TARGETS = {
    "small": {"write": 3.5, "statistics": 7.0, "rules": 50.0, "rule_scores": 10.0, "index": 17.0},
    "large": {"write": 35.0, "statistics": 70.0, "rules": 500.0, "rule_scores": 100.0, "index": 120.0},
}
"""CPU seconds at 32 and at 320 million rows."""

_TINY = Size("tiny", n_tokens=20_000, n_features=BUCKET_FEATURES + 100, firings_per_token=8, shards=1)

STEPS = {
    "statistics": ("feature_tokens", "feature_stats"),
    "rules": ("feature_rules", "feature_routes"),
    "rule_scores": ("rule_scores",),
    "index": ("example_index",),
}
"""The tables that each step makes."""


def main() -> None:
    """Measure a scale and publish its figures."""
    parser = scale_parser("store", __doc__)
    parser.add_argument("--folder", type=Path, help="where the lake is made; it is removed afterwards")
    given = parser.parse_args()
    size = SIZES[given.scale]
    folder = Path(tempfile.mkdtemp(prefix="latentlake-bench-", dir=given.folder))
    try:
        publish("store", measure(size, folder), given.scale)
    finally:
        shutil.rmtree(folder)


def measure(size: Size, folder: Path) -> list[Figure]:
    """The figures for a size; the lake is made below the folder."""
    _compile(folder)
    corpus = measured(_write_corpus, size, folder)
    written = measured(_write_shards, size, folder)
    n_rows = sum(each.n_rows for each in written.result)
    merged = measured(_merge, size, folder)
    limits = measured(_limits, size, folder).result
    steps = {name: measured(_write_tables, size, folder, tables) for name, tables in STEPS.items()}
    cofirings = measured(_write_cofirings, size, folder)
    examples = measured(_write_examples, size, folder)
    kernels = measured(measure_kernels, size, folder).result
    write_cpu_s = sum(each.cpu_s for each in written.result) + merged.cpu_s
    peaks: dict[str, Measured[Any]] = {"writing": written, "merging": merged, **steps}
    peaks |= {"cofirings": cofirings, "examples": examples}
    highest = max(peaks, key=lambda name: peaks[name].peak_gib)
    rows = f"{n_rows / 1e6:,.0f}M rows, {size.n_features:,} features"
    return [
        Figure("rows", n_rows, "rows", better="higher"),
        Figure(
            "bytes_per_row", merged.result / n_rows, "B", 3.0, limit=limits.best_bytes, note="zstd at its highest"
        ),
        _cpu("write", write_cpu_s, size, limits.encode_s * n_rows, f"{rows}: to shards, merged; encoding alone"),
        *(_cpu(name, step.cpu_s, size, limits.scan_s, ", ".join(STEPS[name])) for name, step in steps.items()),
        _cpu("cofirings", cofirings.cpu_s, size, None, f"feature_cofirings, on {cofirings.result:,} tokens"),
        Figure(
            "examples_ms_per_feature",
            1000 * examples.result.cpu_s / examples.result.n_features,
            "ms",
            note=f"CPU, a batch of {examples.result.n_features:,} features: hard negatives found, windows drawn",
        ),
        Figure(
            "rendering_ms_per_feature",
            1000 * examples.result.rendering_s / examples.result.n_features,
            "ms",
            0.5,
            note=f"CPU, part of it: rendering {examples.result.n_windows:,} windows",
        ),
        _cpu("slots", corpus.cpu_s, size, None, "documents, contexts and slots of the corpus"),
        Figure("peak_gib", peaks[highest].peak_gib, "GiB", 1.0, note=f"resident, process of the step {highest}"),
        *(
            Figure(f"{name}_peak_gib", step.peak_gib, "GiB", note=f"{step.wall_s:.0f} s of wall time")
            for name, step in peaks.items()
        ),
        Figure("feature_read_ms", limits.read_ms, "ms", 4.0, note="one feature's rows from its bucket, median"),
        *kernels,
    ]


class Limits(NamedTuple):
    """Limits of the machine, measured together with the figures.

    Attributes:
        scan_s: CPU seconds of one pass of DuckDB over every firing (count and maximum by feature).
        encode_s: CPU seconds per row to encode rows that are in order.
        best_bytes: Bytes per row of one bucket at zstd's highest level.
        read_ms: Wall milliseconds to read one feature's rows, median.
    """

    scan_s: float
    encode_s: float
    best_bytes: float
    read_ms: float


class Examples(NamedTuple):
    """A batch's examples: number of features and windows, CPU seconds in all, and for rendering alone."""

    n_features: int
    n_windows: int
    cpu_s: float
    rendering_s: float


def _compile(folder: Path) -> None:
    """Make everything at a tiny size, so that numba's compiled code is on disk, as after a user's first run."""
    _write_corpus(_TINY, folder)
    _write_shard(_TINY, folder, 0)
    _merge(_TINY, folder)
    for tables in STEPS.values():
        _write_tables(_TINY, folder, tables)
    _write_cofirings(_TINY, folder)
    _write_examples(_TINY, folder)


def _cpu(name: str, value: float, size: Size, limit: float | None, note: str) -> Figure:
    return Figure(f"{name}_cpu_s", value, "s", TARGETS[size.name].get(name), limit=limit, note=note)


def _write_corpus(size: Size, folder: Path) -> None:
    write_corpus(open_synthetic(size, folder), size)


def _write_shards(size: Size, folder: Path) -> list[Written]:
    """Write all shards, two processes at a time."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        return list(pool.map(_write_shard, [size] * size.shards, [folder] * size.shards, range(size.shards)))


def _write_shard(size: Size, folder: Path, shard: int) -> Written:
    return write_shard(open_synthetic(size, folder), plan_features(size), shard)


def _merge(size: Size, folder: Path) -> float:
    return float(write_activations(open_synthetic(size, folder), SAE).figures["bytes"])


def _write_tables(size: Size, folder: Path, tables: Sequence[str]) -> None:
    for table in tables:
        make_table(open_synthetic(size, folder), table, sae=SAE)


def _write_cofirings(size: Size, folder: Path) -> int:
    """Make `feature_cofirings`; returns on how many tokens it counted."""
    return int(make_table(open_synthetic(size, folder), "feature_cofirings", sae=SAE).figures["tokens_counted"])


def _write_examples(size: Size, folder: Path) -> Examples:
    """Make the examples of batch 0, for every feature that can be explained; neighbours are random."""
    lake = open_synthetic(size, folder)
    write_neighbours(lake, size)
    write_selected_features(lake, SAE)
    begin = time.process_time()
    written = make_table(lake, "examples", sae=SAE, batch=0)
    all_s = time.process_time() - begin
    given = {"taken_slots": read_rows(lake, "taken_slots", sae=SAE, batch=0)}
    n_features = pc.count_distinct(given["taken_slots"]["feature"]).as_py()
    begin = time.process_time()
    with lake.connect(SAE, 0, given) as connection:
        lake.create(connection, "candidate_slots")
        with open_corpus_tokens(lake, connection) as corpus:
            begin = time.process_time()
            windows = rendered_windows(Inputs(lake, SAE, range(size.n_features), corpus, connection))
    with open_rows(lake, "examples", sae=SAE, batch=0, given={**given, "rendered_windows": windows}) as rows:
        lake.write("examples", rows, sae=SAE, batch=0)
    rendering_s = time.process_time() - begin
    return Examples(n_features, written.n_rows, all_s, rendering_s)


def _limits(size: Size, folder: Path) -> Limits:
    lake = open_synthetic(size, folder)
    with lake.connect(SAE) as connection:
        scan = connection.sql("select feature, count(*), max(activation) from activations group by feature")
        scan_s = cpu_s(scan.fetchall)
    path = bucket_path(lake, SAE, 0)
    rows = pq.read_table(path)
    encode_s = cpu_s(lambda: _encoded(rows, level=1)) / rows.num_rows
    times = []
    for feature in range(0, BUCKET_FEATURES, 50):
        begin = time.monotonic()
        pq.read_table(path, filters=[("feature", "==", feature)], columns=["token_index", "activation"])
        times.append(1000 * (time.monotonic() - begin))
    return Limits(scan_s, encode_s, len(_encoded(rows, level=19)) / rows.num_rows, median(times))


def _encoded(rows: pa.Table, level: int) -> bytes:
    """The bytes of a file with these rows, at a level of zstd."""
    file = io.BytesIO()
    pq.write_table(rows, file, compression="zstd", compression_level=level, **ENCODING)
    return file.getvalue()


if __name__ == "__main__":
    main()
