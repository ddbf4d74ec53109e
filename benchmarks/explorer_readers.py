"""Fifty readers of the explorer for a minute, each with a page every ten seconds, while a run writes tables.

The server, the writer and the readers are separate processes. Once a second, the writer replaces the files of
examples, explanations and scores, and then the catalog. Seconds are the wall time that a reader waits, so the
machine should be idle otherwise.
"""

import multiprocessing
import random
import statistics
import tempfile
import threading
import time
import urllib.error
import urllib.request
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from benchmarks.explorer_lake import SAE, make_lake, write_config
from benchmarks.figures import Figure, publish
from benchmarks.pictures import serving
from pipeline.config import load_config
from pipeline.lake import Lake
from pipeline.tables.versions import SourceHashes

N_FEATURES = 4096
N_READERS = 50
_EVERY_SECONDS, _SECONDS = 10.0, 60.0
_WRITES_EVERY_SECONDS = 1.0
_MOST_SECONDS = 30.0


class Visit(NamedTuple):
    """A page that a reader requested: how long it took, and what was wrong with it, if anything."""

    address: str
    seconds: float
    error: str


def main() -> None:
    """Make the lake, run the readers, publish how many pages failed and how long they took."""
    with tempfile.TemporaryDirectory() as name:
        path = write_config(Path(name), N_FEATURES)
        make_lake(load_config(path))
        visits, n_written = read_while_written(path)
    took = sorted(visit.seconds for visit in visits)
    failed = [visit for visit in visits if visit.error]
    for visit in failed[:10]:
        print(f"{visit.address}: {visit.error}")
    note = f"{len(visits)} pages, {N_READERS} readers; tables written {n_written} times in the meantime"
    publish(
        "explorer_readers",
        [
            Figure("errors", len(failed), "pages", 0, note=note),
            Figure("p95_s", statistics.quantiles(took, n=20)[-1], "s", 1.0, note="wall time"),
            Figure("median_s", statistics.median(took), "s", note="wall time"),
            Figure("slowest_s", took[-1], "s", note="wall time"),
        ],
    )


def read_while_written(path: Path) -> tuple[list[Visit], int]:
    """The visits of all readers, and how many times the tables were written in the meantime."""
    context = multiprocessing.get_context("spawn")
    stop, n_written = context.Event(), context.Value("i", 0)
    address: multiprocessing.Queue[str] = context.Queue()
    server = context.Process(target=_serve, args=(path, address, stop))
    writer = context.Process(target=_write, args=(path, n_written, stop))
    server.start()
    found = address.get(timeout=120)
    _visit(f"{found}/features")  # the tables in memory are made once
    writer.start()
    while n_written.value == 0 and writer.is_alive():
        time.sleep(0.1)
    visits: list[Visit] = []
    readers = [threading.Thread(target=_read, args=(found, number, visits)) for number in range(N_READERS)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    stop.set()
    for process in (server, writer):
        process.join()
    return visits, n_written.value


def _serve(path: Path, address: "multiprocessing.Queue[str]", stop: Event) -> None:
    with serving(load_config(path)) as found:
        address.put(found)
        stop.wait()


def _write(path: Path, n_written: "multiprocessing.sharedctypes.Synchronized[int]", stop: Event) -> None:
    """Do what a run does at the end of a batch, again and again, until `stop` is set."""
    config = load_config(path)
    lake = Lake(config, SourceHashes("made", {SAE: "made"}, "float32"))
    parts = lake.parts("explanations")
    partitions: list[tuple[str, dict[str, Any]]] = [
        (name, {"sae": SAE, "batch": batch, **({"part": part} if part else {})})
        for batch in range(config.n_batches)
        for name, part in [("examples", ""), ("scores", ""), *(("explanations", part) for part in parts)]
    ]
    rows = [(name, partition, pq.read_table(lake.path(name, **partition))) for name, partition in partitions]
    while not stop.wait(_WRITES_EVERY_SECONDS):
        for name, partition, table in rows:
            lake.write(name, table, **partition)
        lake.refresh_catalog()
        n_written.value += 1


def _read(address: str, number: int, visits: list[Visit]) -> None:
    """One reader: the list, searches, features and the run's page, one page every ten seconds."""
    chance = random.Random(number)
    began = time.monotonic() + chance.uniform(0, _EVERY_SECONDS)
    for turn in range(int(_SECONDS / _EVERY_SECONDS)):
        time.sleep(max(0.0, began + turn * _EVERY_SECONDS - time.monotonic()))
        feature = f"/features/{SAE}/{chance.randrange(N_FEATURES)}"
        asked = f"/features/{SAE}/{chance.randrange(0, N_FEATURES, 8)}"
        words = f"/features?words=t{chance.randrange(3000)}"
        page = chance.choice(
            ("/features", "/features?sort=score", words, feature, asked, f"{asked}/requests", "/run")
        )
        visits.append(_visit(address + page))


def _visit(address: str) -> Visit:
    began = time.monotonic()
    try:
        with urllib.request.urlopen(address, timeout=_MOST_SECONDS) as answer:
            error = "" if "</html>" in answer.read().decode() else "the page is cut off"
    except urllib.error.HTTPError as failure:
        error = f"{failure.code}: {failure.read().decode()[-600:-60]}"
    except OSError as failure:
        error = str(failure)
    return Visit(address, time.monotonic() - began, error)


if __name__ == "__main__":
    main()
