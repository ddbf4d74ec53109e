"""The lake as the pages read it: its views, and three small tables that the list of features is searched in.

The catalog's views are copied into an in-memory DuckDB, so that the catalog's file, which a run replaces, is not
held open. The tables in memory (`feature_index`, `explanation_index`, `score_index`) are rebuilt in the background
when a run has written their inputs; until then pages use the old ones.
"""

import threading
import time
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa

from pipeline.asking.windows import Vocabulary
from pipeline.config import Config
from pipeline.errors import LakeError
from pipeline.firings.layout import BUCKET_FEATURES
from pipeline.fit.verdict import misfit_sentences
from pipeline.lake import CATALOG_FILE, LEDGER_FOLDER
from pipeline.lake.catalog import copy_views, create_requests_view, narrow_view, view_texts
from pipeline.lake.objects import open_objects
from pipeline.lake.queries import bind, create, create_steps
from pipeline.llm.ledger.files import overlapping_files
from pipeline.tables import TABLES
from pipeline.tables.sql import steps_of, tables_read
from pipeline.tables.stages import BATCH_TABLES

Row = dict[str, Any]

_INDEXES = ("feature_index", "explanation_index", "score_index")
"""SQL files whose rows are kept in memory."""

_LOOK_SECONDS = 2.0
"""How long the lake's files are assumed not to change after a look at them."""

_LOOK_SECONDS_AT_URL = 30.0
"""The same for a lake in an object store, where a look lists the store and fetches what is new."""

_HELD_FACTOR = 20
"""Rows are cached this many times as long as their query took, so at most a twentieth of the time is querying."""


class _Made(NamedTuple):
    """An in-memory database, and the statements that created its views."""

    database: duckdb.DuckDBPyConnection
    views: dict[str, str]


State = tuple[tuple[str, int], ...]
"""The folders that the indexes are made from, and when each was last written."""


class Catalog:
    """One experiment's lake as the pages read it. Safe to use from several threads.

    Args:
        config: The experiment.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.folder = config.lake_folder
        self.objects = open_objects(config)
        self._look_seconds = _LOOK_SECONDS if self.objects is None else _LOOK_SECONDS_AT_URL
        self._making = threading.Lock()
        self._made: _Made | None = None
        self._state: State = ()
        self._looked = 0.0
        self._held: dict[str, tuple[float, list[Row]]] = {}
        self._vocabulary: Vocabulary | None = None

    @contextmanager
    def reading(self) -> Iterator["Reader"]:
        """A reader of the lake, for one page.

        Raises LakeError if there is no lake yet, or if it was made by another version and lacks what a page shows.
        """
        made = self._current()
        cursor = made.database.cursor()
        try:
            yield Reader(cursor, self.config, made.views)
        except duckdb.IOException as error:
            self._looked, self._state = 0.0, ()  # a new version was made, and the old one removed
            raise LakeError(f"files of the lake are being replaced; reload the page ({error})") from None
        except (duckdb.BinderException, duckdb.CatalogException) as error:
            words = str(error).partition("\n")[0]
            sentence = f"this lake was made by another version of latentlake; run it again ({words})"
            raise LakeError(sentence) from None
        finally:
            cursor.close()

    def held(self, name: str, **values: Any) -> list[Row]:
        """The rows of a query that may read the whole lake, cached for a time, as that takes long."""
        key = f"{name} {values}"
        until, rows = self._held.get(key, (0.0, []))
        now = time.monotonic()
        if now > until:
            with self.reading() as reader:
                rows = reader.rows(name, **values)
            self._held[key] = time.monotonic() + _HELD_FACTOR * (time.monotonic() - now), rows
        return rows

    def misfits(self, saes: Container[str] | None = None) -> list[str]:
        """A sentence about each of some SAEs, by default all, that does not fit its hookpoint.

        Every page that shows the SAE shows it (`base.html`).
        """
        found = misfit_sentences(self.held("sae_fits", sae=None), self.config.saes)
        return [sentence for sae, sentence in found.items() if saes is None or sae in saes]

    @property
    def state(self) -> State:
        """What the indexes are made from; a different object after they were rebuilt."""
        return self._state

    def vocabulary(self) -> Vocabulary:
        """The subject model's vocabulary; it never changes once it is in the lake."""
        if self._vocabulary is None:
            with self.reading() as reader:
                token_bytes = [row["bytes"] for row in reader.rows("vocabulary")]
            if not token_bytes:
                return Vocabulary([])
            self._vocabulary = Vocabulary(token_bytes)
        return self._vocabulary

    def _current(self) -> "_Made":
        """The database. It is rebuilt in the background when files have changed; the first call waits for it."""
        if self._made is None:
            with self._making:
                if self._made is None:
                    self._make(self._look())
        elif time.monotonic() - self._looked > self._look_seconds and (state := self._look()) != self._state:
            threading.Thread(target=self._make_beside, args=(state,), daemon=True).start()
        assert self._made is not None
        return self._made

    def _look(self) -> State:
        """When the catalog and the tables that the indexes are made from were last written."""
        self._looked = time.monotonic()
        if self.objects is not None:
            from pipeline.sources import recorded_lake

            lake = recorded_lake(self.config)
            lake.fetched(self.folder / CATALOG_FILE)
            lake.fetch_tables([*TABLES], self.config.sae_names)
        catalog = self.folder / CATALOG_FILE
        if not catalog.is_file():
            raise LakeError(f"there is no lake at '{self.folder}' yet; 'make run' makes it")
        folders = [path for table in tables_read(*_INDEXES) for path in sorted((self.folder / table).glob("**/"))]
        paths = (catalog, self.folder / TABLES["ratings"].lines_folder, *folders)
        return tuple((str(path), path.stat().st_mtime_ns) for path in paths if path.exists())

    def _make_beside(self, state: State) -> None:
        """Rebuild the database while pages use the old one; one rebuild at a time."""
        if self._making.acquire(blocking=False):
            try:
                self._make(state)
            except (duckdb.Error, OSError, LakeError):
                self._state = ()  # a file, or the lake, was removed while it was read: the next page tries again
            finally:
                self._making.release()

    def _make(self, state: State) -> None:
        database = duckdb.connect(config={"memory_limit": self.config.machine.memory_limit})
        database.execute("set enable_progress_bar = false; set parquet_metadata_cache = true")
        copy_views(database, self.folder)
        views = view_texts(database)
        with database.cursor() as cursor:  # its temporary tables end with it
            for step in steps_of(*_INDEXES):
                create(cursor, self.config, step, {}, "table" if step in _INDEXES else "temp table")
        self._made, self._state = _Made(database, views), state


class Reader:
    """Queries the lake over one connection."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, config: Config, views: dict[str, str]) -> None:
        self._cursor = cursor
        self._views = views
        self._config = config
        self._given = {*_INDEXES}

    def rows(self, name: str, **values: Any) -> list[Row]:
        """The rows of `sql/explore/<name>.sql`; parameters that are not given are read from the config."""
        create_steps(self._cursor, self._config, name, self._given, values, "temp table")
        answer = self._cursor.execute(*bind(self._cursor, self._config, name, values))
        names = [column[0] for column in answer.description]
        return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]

    def give(self, name: str, rows: pa.Table) -> None:
        """Make rows visible to this page's queries as a table."""
        self._cursor.register(name, rows)
        self._given.add(name)

    def features_where(self, condition: str) -> list[tuple[str, int]]:
        """The features of `feature_index` for which a SQL condition holds, as (SAE, feature)."""
        found = self._cursor.table("feature_index").filter(condition).project("sae, feature")
        return found.order("sae, feature").fetchall()

    def list_only(self, features: Sequence[tuple[str, int]]) -> None:
        """Restrict `feature_index` to some features."""
        saes, numbers = zip(*features, strict=True)
        wanted = pa.table({"sae": saes, "feature": pa.array(numbers, pa.int32())})
        every = self._cursor.table("feature_index")
        self.give("feature_index", every.join(self._cursor.from_arrow(wanted), "sae, feature").to_arrow_table())

    def only_sae(self) -> str | None:
        """The SAE's name if the experiment has only one."""
        return self._config.sae_names[0] if self.n_saes == 1 else None

    def missing(self, sae: str, feature: int) -> str:
        """Why a feature has no page, in one sentence."""
        if sae not in self._config.sae_names:
            return f"this experiment has no SAE '{sae}'; it has {', '.join(self._config.sae_names)}"
        sizes = {row["sae"]: row["n_features"] for row in self.rows("explained_counts")}
        if sae in sizes and feature >= sizes[sae]:
            return f"SAE '{sae}' has no feature {feature}; its features are 0 to {sizes[sae] - 1}"
        return f"feature {feature} of SAE '{sae}' has no statistics yet: the run has not reached feature_stats"

    @property
    def n_saes(self) -> int:
        """The number of SAEs in the experiment."""
        return len(self._config.sae_names)

    def narrow_requests(self, sae: str, feature: int) -> None:
        """Restrict `llm_requests` to the ledger files that may hold a feature: all of them may be gigabytes."""
        folder = self._config.lake_folder / LEDGER_FOLDER
        files = [
            path
            for table in sorted(folder.glob("*/"))
            if sae in self._config.sae_names
            for path in overlapping_files(table / sae, range(feature, feature + 1))
        ]
        create_requests_view(self._cursor, files or [folder / "empty.jsonl"])

    def narrow(self, sae: str, feature: int) -> None:
        """Restrict the tables of many files to the batch and bucket of one feature."""
        batch, bucket = feature // self._config.selection.batch_size, feature // BUCKET_FEATURES
        for name, number in (*((name, batch) for name in BATCH_TABLES), ("activations", bucket)):
            if sae in self._config.sae_names and name in self._views:
                narrow_view(self._cursor, self._views[name], self._config.lake_folder, sae, number)

    def row(self, name: str, **values: Any) -> Row | None:
        """The one row of a query, or None."""
        found = self.rows(name, **values)
        return found[0] if found else None
