"""Search by meaning: which explanations are like some words, by the cosine of their embeddings.

The embeddings are those of the model of `scoring.embedding`. An explanation's is made once and kept in the lake
(`meanings/`, in no version, untouched by `make clean-lake`), some hundred at a time, in a thread of its own that
the first such search starts; until it is done, a search looks through those that are there.
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
from pipeline.errors import LatentlakeError, sentence_of
from pipeline.explore.catalog import Catalog
from pipeline.tables.macros import ready_text

Embed = Callable[[Sequence[str]], Any]
"""Embeddings of texts, [n_texts, width]."""

_TEXTS_AT_ONCE = 512
"""How many are embedded and kept together, and so how many a search waits for at most."""

_FOUND = 2000
"""How many explanations a search finds at most."""

NEAR_MEANINGS = pa.schema([("explanation", pa.string()), ("similarity", pa.float32())])
"""What is like the words that are searched for: a text of explanations, and the cosine, -1 to 1."""


class Found(NamedTuple):
    """What is like some words.

    Attributes:
        near: Rows of `NEAR_MEANINGS`, the most alike first.
        n_left: How many texts of explanations are still to be embedded; these are not looked through.
    """

    near: pa.Table
    n_left: int


class Meanings:
    """The meanings of an experiment's explanations.

    Args:
        catalog: The experiment's lake.
        load: Loads the model; by default that of the scorer `embedding`.
    """

    def __init__(self, catalog: Catalog, load: Callable[[Config], Embed] | None = None) -> None:
        self._catalog = catalog
        self._load = load or _load_embedder
        self.missing = "" if load else _missing_model(catalog.config)
        """Why there is no such search; empty where there is."""
        self._database = duckdb.connect()
        self._width = 0
        self._n_left = 0
        self._embed: Embed | None = None
        self._error = ""
        self._seen: object = None
        self._working: threading.Thread | None = None
        self._lock = threading.Lock()
        self._embedding = threading.Lock()  # a tokenizer is no two threads' at once

    def search(self, words: str) -> Found | None:
        """What is like some words; None while the model is being loaded.

        Raises LatentlakeError if the model is missing or cannot be loaded; the next search tries again.
        """
        if self.missing:
            raise LatentlakeError(self.missing)
        with self._lock:
            if self._error:
                sentence, self._error, self._working = self._error, "", None
                raise LatentlakeError(sentence)
            is_idle = self._working is None or not self._working.is_alive()
            if is_idle and self._seen is not self._catalog.state:
                self._working = threading.Thread(target=self._work, daemon=True)
                self._working.start()
            working = self._working
        if self._embed is None and working is not None:
            working.join(timeout=2)
        if self._embed is None or not self._width:
            return None
        cursor = self._database.cursor()
        cursor.register("asked_meaning", self._rows([words], self._embed))
        text = ready_text(cursor, "nearest_texts")
        near = cursor.sql(text, params={"n": _FOUND}).to_arrow_table().cast(NEAR_MEANINGS)
        return Found(near, self._n_left)

    def _work(self) -> None:
        """Load the model, and know the meaning of every explanation that there is."""
        try:
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
        except Exception as error:  # whatever it is: the page that waits for this thread has to hear of it
            sentence = sentence_of(error)
            self._error = sentence or f"the model of embeddings cannot be used ({type(error).__name__}: {error})"
            if sentence is None:
                raise

    def _open(self, embed: Embed) -> None:
        """Take what was kept in the lake by the same model."""
        empty = self._rows([""], embed)
        kept = [pq.read_table(path) for path in sorted(self._folder.glob("*.parquet"))]
        rows = pa.concat_tables([empty.slice(0, 0), *(each for each in kept if each.schema.equals(empty.schema))])
        cursor = self._database.cursor()
        cursor.register("rows", rows)
        cursor.execute("create table meanings as select distinct on (explanation) * from rows")
        self._width = empty.schema.field("vector").type.list_size

    def _add(self, rows: pa.Table) -> None:
        """Let explanations be found, and keep their embeddings for the next time where the lake can be written."""
        cursor = self._database.cursor()
        cursor.register("rows", rows)
        cursor.execute("insert into meanings from rows")
        name = hashlib.sha256("\n".join(rows["explanation"].to_pylist()).encode()).hexdigest()[:16]
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            pq.write_table(rows, temporary := self._folder / f".{name}")
            temporary.replace(self._folder / f"{name}.parquet")
        except OSError:
            return  # a lake that is only read: they are made anew the next time

    def _rows(self, texts: Sequence[str], embed: Embed) -> pa.Table:
        """Texts and their embeddings."""
        with self._embedding:
            vectors = embed(texts)
        values = pa.array(vectors.reshape(-1).tolist(), pa.float32())
        return pa.table({
            "explanation": list(texts),
            "vector": pa.FixedSizeListArray.from_arrays(values, vectors.shape[1]),
        })

    @property
    def _folder(self) -> Path:
        model = hashlib.sha256(_model(self._catalog.config).encode()).hexdigest()[:12]
        return self._catalog.folder / "meanings" / model


def _model(config: Config) -> str:
    model: str = config.scoring.embedding.model  # type: ignore[attr-defined]  # a plug-in's section
    return model


def _missing_model(config: Config) -> str:
    """Why the model of embeddings is not at hand, as far as that is known without loading anything."""
    if config.scoring.embedding.asks_role:  # type: ignore[attr-defined]  # a plug-in's section
        return "scoring.embedding asks a server, and a search pays for nothing: it takes a model in this process"
    package = _model(config).removeprefix("package:")
    if package == _model(config) or importlib.util.find_spec(package):
        return ""
    return f"the package '{package}', which scoring.embedding.model names, is not installed"


def _load_embedder(config: Config) -> Embed:
    from pipeline.scorers.embedding.embedder import load_embedder

    return load_embedder(config, _model(config)).embed
