"""Slots of the corpus; a corpus without slots in a role is refused before any model runs."""

import logging
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from pipeline.config import Config
from pipeline.corpus.documents import read_documents
from pipeline.errors import CorpusError
from pipeline.lake import Given, Lake, Published
from pipeline.tables import TABLES

_SAMPLE_TOKENS = 200_000

_log = logging.getLogger(__name__)


def write_slots(lake: Lake) -> Published:
    """Cut every context into slots. Figures: slots, copied test slots, tokens in no slot.

    Raises CorpusError if a role has no slot that can become an example.
    """
    lake.require("documents")
    with lake.connect(tables=("documents",)) as connection:
        lake.create(connection, "slots")
        _check_roles(lake, connection)
        rows = connection.table("slots").order("context_id, start")
        published = lake.write("slots", rows.to_arrow_reader())
    return replace(published, figures=dict(lake.query("figures/slots").iter_rows()))


def check_first_texts(lake: Lake) -> None:
    """Check on its first 200,000 tokens whether a corpus will have slots; no table is written.

    Raises CorpusError if a role has no slot that can become an example; for a longer corpus, only logs that.
    """
    if lake.has("slots") or lake.generation:
        return
    most = min(lake.config.corpus.max_tokens or _SAMPLE_TOKENS, _SAMPLE_TOKENS)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "read.parquet"
        read = read_documents(lake.config, path, most)
        given: Given = {"read_documents": [path], "earlier_documents": TABLES["documents"].schema.empty_table()}
        with lake.connect(given=given, tables=()) as connection:
            lake.create(connection, "documents")
            lake.create(connection, "slots")
            try:
                _check_roles(lake, connection)
            except CorpusError as error:
                if read.n_tokens < most or most == lake.config.corpus.max_tokens:  # that was all of it
                    raise
                _log.warning("the first %s tokens alone are not enough: %s", f"{read.n_tokens:,}", error)


def _check_roles(lake: Lake, connection: duckdb.DuckDBPyConnection) -> None:
    """Raise CorpusError for the first role without a slot that can become an example."""
    roles = lake.select(connection, "role_slots").pl()
    n_documents = int(roles["n_documents"].sum())
    for row in roles.to_dicts():
        if not row["n_candidates"]:
            reason = _reason(lake.config, row, n_documents)
            raise CorpusError(f"the corpus has no slot in the role `{row['role']}`: {reason}")


def _reason(config: Config, row: dict[str, Any], n_documents: int) -> str:
    """The counts of a role, and the key to change."""
    sampling = config.sampling
    if not row["n_documents"]:
        return (
            f"it has no document; the corpus has {n_documents:,} (equal texts count once), and all of a unit's "
            "documents share a role; give more units (corpus.sources, its unit_field), or another "
            f"corpus.test_share than {config.corpus.test_share:g}, or another seed"
        )
    counts = f"{row['n_documents']:,} documents of {row['n_units']:,} units with {row['n_tokens']:,} tokens"
    if not row["n_slots"]:
        return (
            f"{counts} have no piece of {sampling.min_slot_tokens} tokens after their first token; give longer "
            "texts (corpus.sources), or lower sampling.min_slot_tokens"
        )
    return (
        f"{counts} give {row['n_slots']:,} slots, but each overlaps a run of {sampling.copied_run_tokens} tokens "
        "that also occurs in the other role's documents, or occurs there as a whole, as in a template; remove the "
        "repeated text (corpus.sources)"
    )
