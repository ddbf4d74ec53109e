"""Readers' blind ratings of explanations: what readers see, and how their ratings are stored.

A rating is appended to `readers/ratings.jsonl` in the lake, outside every table version, and synced to disk before
the next explanation is shown. It is the only thing that the explorer writes, apart from embeddings (`meaning`).
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.asking.windows import Vocabulary
from pipeline.errors import LakeError
from pipeline.explore.catalog import Reader, Row
from pipeline.explore.feature import Windows, shade
from pipeline.llm.ledger.files import ends_in_newline
from pipeline.tables import TABLES

VERDICTS = {
    "fits": ("Fits", "it describes when the feature fires, and when not"),
    "too_broad": ("Too broad", "the feature is silent in places that it describes"),
    "too_narrow": ("Too narrow", "the feature also fires in places that it does not describe"),
    "wrong": ("Wrong", "it describes something else"),
    "unreadable": ("Unreadable", "it makes no claim that could be right or wrong"),
}

MOST_CHARACTERS = 60
_ACTIVE, _SILENT = 8, 6


def readers_page(reader: Reader) -> dict[str, Any]:
    """The ratings, summed up by explainer, rater and scorer."""
    by_explainer: dict[str, Row] = {}
    for row in reader.rows("verdicts_by_explainer"):
        own = by_explainer.setdefault(row["explainer"], {"is_control": row["is_control"], "n": 0, "verdicts": {}})
        own["verdicts"][row["verdict"]] = row["n"]
        own["n"] += row["n"]
    return {
        "verdicts": VERDICTS,
        "by_explainer": by_explainer,
        "raters": reader.rows("raters"),
        "n_outdated": reader.rows("outdated_ratings")[0]["n"],
        "agreements": reader.rows("rater_agreements"),
        "scorers": reader.rows("scorers_and_readers"),
    }


def next_page(reader: Reader, vocabulary: Vocabulary, rater: str) -> dict[str, Any]:
    """The explanation a reader rates next, with windows of test documents; `item` is None after the last one."""
    item = reader.row("next_to_rate", rater=rater)
    if item is None:
        return {"item": None}
    own = {"sae": item["sae"], "feature": item["feature"]}
    reader.narrow(**own)
    rows = reader.rows("shown_windows", **own) or reader.rows("indexed_windows", **own, strongest=0, of_a_decile=4)
    largest = max((row["peak"] or 0.0 for row in rows), default=0.0)
    return {
        "item": item,
        "groups": [
            Windows(title, [shade(row, vocabulary, largest) for row in some], len(some))
            for title, some in _picked([row for row in rows if row["role"] == "test"])
            if some
        ],
    }


def keep_rating(
    folder: Path,
    explanation_id: str,
    explanation_sha256: str,
    rater: str,
    verdict: str,
    seal: Callable[[Path, BinaryIO], None] | None = None,
) -> None:
    """Append a blind rating to the lake in a folder and sync it to disk.

    Args:
        folder: The lake's folder.
        explanation_id: The explanation that was rated.
        explanation_sha256: SHA-256 of the explanation as it was shown.
        rater: The reader's name.
        verdict: One of `VERDICTS`.
        seal: Uploads the file, for a lake in an object store.

    Raises LakeError if the file cannot be written.
    """
    record = {
        "explanation_id": explanation_id,
        "explanation_sha256": explanation_sha256,
        "rater": rater,
        "verdict": verdict,
        "is_blind": True,
        "rated_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
    path = folder / TABLES["ratings"].lines_folder / "ratings.jsonl"
    line = (json.dumps(record, ensure_ascii=False) + "\n").encode()
    try:
        path.parent.mkdir(exist_ok=True)
        with path.open("a+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not ends_in_newline(file):
                line = b"\n" + line  # the last write was cut off
            file.write(line)
            os.fsync(file.fileno())
            if seal is not None:
                seal(path, file)
    except OSError as error:
        raise LakeError(f"ratings '{path}' cannot be written: {error.strerror}") from None


def _picked(rows: Sequence[Row]) -> Iterator[tuple[str, Sequence[Row]]]:
    """Activating windows from strong to weak, and silent ones, those most like activating windows first."""
    active = [row for row in rows if row["kind"] == "activating"]
    step = max(1, len(active) // _ACTIVE)
    yield "It fires here", active[::step][:_ACTIVE]
    order = ("same_token", "neighbour", "random")
    silent = sorted((row for row in rows if row["kind"] != "activating"), key=lambda row: order.index(row["kind"]))
    step = max(1, len(silent) // _SILENT)
    yield "It is silent here", silent[::step][:_SILENT]
