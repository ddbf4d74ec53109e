"""Search by meaning: the explanations most similar to some words, by the cosine of their embeddings.

The model is that of `scoring.embedding`. An explanation is embedded once and its embedding kept in the lake
(`meanings/`, outside table versions and untouched by `make clean-lake`). A thread that the first such search
starts embeds some hundred explanations at a time; until it is done, a search covers those embedded so far.
"""

import hashlib
import importlib.util
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import Config
from pipeline.errors import LatentlakeError
from pipeline.explore.background import Background
from pipeline.explore.catalog import Catalog
from pipeline.tables.macros import ready_text

Embed = Callable[[Sequence[str]], Any]
"""Embeddings of texts, [n_texts, width]."""

_WAIT_SECONDS = 2
"""How long a search waits for the model before its page has to reload."""

_TEXTS_AT_ONCE = 512
"""Texts that are embedded and stored together; a search waits for at most one such group."""

_FOUND = 2000
"""The largest number of explanations that a search finds."""

NEAR_MEANINGS = pa.schema([("explanation", pa.string()), ("similarity", pa.float32())])
"""The texts of explanations nearest to the words, and their cosine, -1 to 1."""


class Found(NamedTuple):
    """The result of a search by meaning.

    Attributes:
        near: Rows of `NEAR_MEANINGS`, the most similar first.
        n_left: Texts of explanations that are not embedded yet and were not searched.
    """

    near: pa.Table
    n_left: int


class Meanings:
    """The embeddings of an experiment's explanations.

    Args:
        catalog: The experiment's lake.
        load: Loads the embedding model; by default that of the scorer `embedding`. Tests give a small one.
    """

    def __init__(self, catalog: Catalog, load: Callable[[Config], Embed] | None = None) -> None:
        self._catalog = catalog
        self._load = load or _load_embedder
        self.missing = "" if load else _missing_model(catalog.config)
        """Why search by meaning is not available; empty if it is."""
        self._database = duckdb.connect()
        self._width = 0
        self._n_left = 0
        self._embed: Embed | None = None
        self._seen: object = None
        self._working = Background(self._embed_all, "the embedding model cannot be used")
        self._lock = threading.Lock()
        self._embedding = threading.Lock()  # tokenizers are not thread-safe

    def search(self, words: str) -> Found | None:
        """The explanations nearest to some words; None while the model is loading.

        Raises LatentlakeError if the model is missing or cannot be loaded; the next search tries again.
        """
        if self.missing:
            raise LatentlakeError(self.missing)
        with self._lock:
            if self._seen is not self._catalog.state:
                self._working.start()
        if self._embed is None:
            self._working.wait(_WAIT_SECONDS)
        if self._embed is None or not self._width:
            return None
        n_left = self._n_left  # before the search: what is embedded meanwhile may be missing from it
        cursor = self._database.cursor()
        cursor.register("asked_meaning", self._rows([words], self._embed))
        text = ready_text(cursor, "nearest_texts")
        near = cursor.sql(text, params={"n": _FOUND}).to_arrow_table().cast(NEAR_MEANINGS)
        return Found(near, n_left)

    def _embed_all(self) -> None:
        """Load the model, and embed every explanation that is not embedded yet."""
        seen = self._catalog.state
        embed = self._embed or self._load(self._catalog.config)
        if not self._width:
            self._open(embed)
        rows = self._database.cursor().execute("select explanation from meanings").fetchall()
        known = {text for (text,) in rows}
        with self._catalog.reading() as reader:
            texts = [row["explanation"] for row in reader.rows("texts_of_explanations")]
        new = [text for text in texts if text not in known]
        self._n_left = len(new)
        self._embed = embed
        while new:
            some, new = new[:_TEXTS_AT_ONCE], new[_TEXTS_AT_ONCE:]
            self._add(self._rows(some, embed))
            self._n_left = len(new)
        self._seen = seen

    def _open(self, embed: Embed) -> None:
        """Read the embeddings that the same model left in the lake."""
        empty = self._rows([""], embed)
        kept = [pq.read_table(path) for path in sorted(self._folder.glob("*.parquet"))]
        rows = pa.concat_tables([empty.slice(0, 0), *(each for each in kept if each.schema.equals(empty.schema))])
        cursor = self._database.cursor()
        cursor.register("rows", rows)
        cursor.execute("create table meanings as select distinct on (explanation) * from rows")
        self._width = empty.schema.field("vector").type.list_size

    def _add(self, rows: pa.Table) -> None:
        """Make embeddings searchable, and store them in the lake if it can be written."""
        cursor = self._database.cursor()
        cursor.register("rows", rows)
        cursor.execute("insert into meanings from rows")
        name = hashlib.sha256("\n".join(rows["explanation"].to_pylist()).encode()).hexdigest()[:16]
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            pq.write_table(rows, temporary := self._folder / f".{name}")
            temporary.replace(self._folder / f"{name}.parquet")
        except OSError:
            return  # the lake is read-only: the next process embeds them again

    def _rows(self, texts: Sequence[str], embed: Embed) -> pa.Table:
        """Texts and their embeddings."""
        with self._embedding:
            vectors = embed(texts)
        values = pa.array(vectors.reshape(-1).tolist(), pa.float32())
        return pa.table(
            {
                "explanation": list(texts),
                "vector": pa.FixedSizeListArray.from_arrays(values, vectors.shape[1]),
            }
        )

    @property
    def _folder(self) -> Path:
        model = hashlib.sha256(_model(self._catalog.config).encode()).hexdigest()[:12]
        return self._catalog.folder / "meanings" / model


def _model(config: Config) -> str:
    model: str = config.scoring.embedding.model  # type: ignore[attr-defined]  # a plug-in's section
    return model


def _missing_model(config: Config) -> str:
    """Why the embedding model is not available, as far as that is known without loading anything."""
    if config.scoring.embedding.asks_role:  # type: ignore[attr-defined]  # a plug-in's section
        return "scoring.embedding uses a server, and searches must not cost money; name a model for this process"
    package = _model(config).removeprefix("package:")
    if package == _model(config) or importlib.util.find_spec(package):
        return ""
    return f"the package '{package}', which scoring.embedding.model names, is not installed"


def _load_embedder(config: Config) -> Embed:
    from pipeline.scorers.embedding.embedder import load_embedder

    return load_embedder(config, _model(config)).embed
