"""The explorer's pages at 131,072 features: the time of each, in a process that has served pages before.

CPU time of all threads, client included: on an idle machine a page takes no longer.
"""

import statistics
import tempfile
import time
from pathlib import Path

from starlette.testclient import TestClient

from benchmarks.explorer_lake import SAE, make_lake, write_config
from benchmarks.figures import Figure, Measured, measured, publish
from pipeline.config import load_config

N_FEATURES = 131_072
TARGET_MS = 300.0
_TIMES = 15

PAGES = {
    "list": "/features",
    "list_by_score": "/features?sort=score&page=40",
    "list_by_density": "/features?sort=rarest&route=llm&least_score=0.6",
    "search_words": "/features?words=t12+t7",
    "search_token": "/features?token=t4711",
    "search_explainer": "/features?explainer=default&scorer=fuzzing&sort=lowest_score",
    "feature": f"/features/{SAE}/65536",
    "feature_all_windows": f"/features/{SAE}/65536?windows=all",
    "feature_not_asked": f"/features/{SAE}/65537",
    "requests": f"/features/{SAE}/65536/requests",
    "run": "/run",
    "readers": "/readers",
}


def main() -> None:
    """Make the lake, request every page, publish the medians."""
    with tempfile.TemporaryDirectory() as name:
        path = write_config(Path(name), N_FEATURES)
        make_lake(load_config(path), one_in=32)
        found: Measured[dict[str, float]] = measured(time_pages, path)
    publish("explorer", figures_of(found))


def figures_of(found: Measured[dict[str, float]]) -> list[Figure]:
    """The pages' medians, and the memory of the process."""
    note = f"CPU, {N_FEATURES:,} features, median of {_TIMES}"
    figures = [
        Figure(f"{name}_ms", value, "ms", None if name == "first_page" else TARGET_MS, note=note)
        for name, value in found.result.items()
    ]
    return [*figures, Figure("peak_gib", found.peak_gib, "GiB", note="the explorer's process")]


def time_pages(path: Path) -> dict[str, float]:
    """The median CPU ms of each page; `first_page` is the very first one, for which the indexes are made."""
    from pipeline.explore.app import create_app

    browser = TestClient(create_app(load_config(path), "token"), base_url="http://localhost")
    found = {"first_page": _time(browser, "/features")}
    for name, address in PAGES.items():
        _time(browser, address)
        found[name] = statistics.median(_time(browser, address) for _ in range(_TIMES))
    return found


def _time(browser: TestClient, address: str) -> float:
    began = time.process_time()
    answer = browser.get(address)
    assert answer.status_code == 200, f"{address}: {answer.status_code}"
    return 1000 * (time.process_time() - began)


if __name__ == "__main__":
    main()
