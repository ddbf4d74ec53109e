"""A lake in memory: every table by its declared schema, rows by hand, SQL files run by name.

Types are those that DuckDB reads from the lake's files: dictionaries are text.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa

from pipeline.config import Config
from pipeline.corpus.documents import READ_SCHEMA
from pipeline.explore.meaning import NEAR_MEANINGS
from pipeline.exports import SAES_SCHEMA
from pipeline.features.wanted import WANTED_SCHEMA
from pipeline.pilot.thresholds import ANSWERS, PAIRS
from pipeline.tables import TABLES
from pipeline.tables.macros import ready_text
from pipeline.tables.sql import config_value, parameters_of, sql_text, steps_of
from pipeline.tables.stages import STAGES

SAE = "layers.1"
CONFIG = Config(
    name="test",
    subject={"model": "none"},
    saes=[{"name": SAE, "source": "none", "hookpoint": "layers.1", "n_features": 1}],
    corpus={"sources": [{"kind": "python"}]},
)
"""The default of every parameter that a test does not name."""

NUMBERS, TEXTS = pa.list_(pa.float64()), pa.list_(pa.string())
NEURONPEDIA = (
    (
        "features", "modelId layer index",
        [*((f"{end}_str", TEXTS) for end in ("pos", "neg")),
         *((f"{end}_values", NUMBERS) for end in ("pos", "neg")),
         *((f"freq_hist_data_bar_{name}", NUMBERS) for name in ("heights", "values")),
         ("topkCosSimIndices", NUMBERS), ("topkCosSimValues", NUMBERS)],
    ),
    (
        "activations", "id modelId layer index",
        [("tokens", TEXTS), ("values", NUMBERS), ("maxValueTokenIndex", pa.int64()),
         *((name, pa.float64()) for name in ("maxValue", "binMin", "binMax"))],
    ),
    ("explanations", "modelId layer index description", []),
    (
        "uploads", "modelId source",
        [("features", pa.list_(pa.struct([
            ("index", pa.int64()), ("activations", pa.list_(pa.struct([("tokens", TEXTS)]))),
            ("explanations", pa.list_(pa.struct([("text", pa.string())]))),
            ("topLogits", NUMBERS), ("bottomLogits", NUMBERS),
        ])))],
    ),
)  # fmt: skip
"""The files of Neuronpedia's that its rules are checked on: columns of text, and the others."""

OTHER_SCHEMAS = {
    "own_questions": pa.schema(
        [
            ("explanation_id", pa.string()),
            ("feature", pa.int32()),
            ("question_id", pa.string()),
            ("example_id", pa.string()),
            ("marked", pa.list_(pa.int32())),
            ("label", pa.bool_()),
            ("draw", pa.int64()),
        ]
    ),
    "drafts": pa.schema([("explanation_id", pa.string()), ("feature", pa.int32()), ("explanation", pa.string())]),
    "own_explanations": TABLES["explanations"].schema.append(pa.field("number", pa.int64())),
    "read_documents": READ_SCHEMA,
    "earlier_documents": TABLES["documents"].schema,
    "scrambled_firings": pa.schema(
        [("feature", pa.int32()), ("token_index", pa.int64()), ("activation", pa.float32())]
    ),
    "planted_explanations": pa.schema(
        [("explanation_id", pa.string()), ("feature", pa.int32()), ("kind", pa.string()), ("fault", pa.string())]
    ),
    "planted_worths": pa.schema(
        [("scorer", pa.string()), ("kind", pa.string()), ("fault", pa.string()), ("worth", pa.int32())]
    ),
    "pilot_scorers": pa.schema(
        [("scorer", pa.string()), ("model", pa.string()), ("is_yes_no", pa.bool_()), ("form", pa.string())]
    ),
    "control_pairs": PAIRS,
    "control_answers": ANSWERS,
    "control_thresholds": pa.schema(
        [
            ("scorer", pa.string()),
            ("n_control_answers", pa.int64()),
            ("n_control_failed", pa.int64()),
            ("threshold", pa.float64()),
            ("threshold_reason", pa.string()),
        ]
    ),
    "exported_saes": SAES_SCHEMA,
    **{
        f"written_{name}": pa.schema([(key, pa.string()) for key in keys.split()] + rest)
        for name, keys, rest in NEURONPEDIA
    },
    "near_meanings": NEAR_MEANINGS,
    **{
        name: pa.schema([("explanation", pa.string()), ("vector", pa.list_(pa.float32(), 2))])
        for name in ("meanings", "asked_meaning")
    },
    "student_quantiles": pa.schema([("n_features", pa.int64()), ("t", pa.float64())]),
    "wanted_features": WANTED_SCHEMA,
    "listed_features": WANTED_SCHEMA,
}
"""Tables that Python code puts beside those of the lake before a SQL file runs."""

Row = dict[str, Any]

USUAL: dict[str, Row] = {
    "explanations": {"is_chosen": True},
    "own_explanations": {"is_chosen": True},
    "examples": {"is_judge": False},
}
"""What columns hold where a row leaves them out, but for null."""


def steps_before(name: str) -> tuple[str, ...]:
    """The SQL files that the pipeline runs before this one."""
    given = {relation for stage in STAGES.values() for relation in stage.given} | set(OTHER_SCHEMAS)
    return steps_of(name, given=given)[:-1]


class Database:
    """Every table of the lake, empty until filled. `values` are SQL parameters, before those of the config."""

    def __init__(self, context_length: int = 8, threads: int | None = None, **values: Any) -> None:
        given = {
            **{"sae": SAE, "shard": 0, "batch": 0, "bos_token_id": [], "model": "none", "scorer": "detection"},
            **{"asks_model": False, "n": 4, "sampling": "deciles", "n_shown": 20, "n_silent": 0},
            **{"quota_routes": None, "quota_sizes": None, "first_feature": 0, "end_feature": 1 << 20},
            **{"fit_tokens": 129, "fit_documents": 16, "share": 1.0, "n_judging": 10, "questions_per_prompt": 1},
            **{"least_explanations": 32, "least_features": 8, "n_explanations": 1},
            **{"least_answers": 100, "n_windows": 10, "has_marks": False},
            **{"explainer": None, "neuronpedia_creator": "us", "layer": 1, "folder": "features"},
            **{"feature": 0, "words": [], "tokens": None, "route": None, "least_score": None},
            **{"most_score": None, "least_density": None, "most_density": None, "is_explained": False},
            **{"sort": "explained", "page_rows": 50, "first_row": 0},
            **{"strongest": 12, "of_a_decile": 3, "of_a_way": 3},
            **{"explanation_sha256": None, "statement": "select 1", "least_slots": 2},
            **{"explanation_id": None, "request_id": None, "rater": None, "features": [], "is_by_meaning": False},
        }
        self.values = given | {"corpus_context_length": context_length} | values
        # A cursor has temporary tables of its own, which hide the empty ones that all share.
        self.connection = _duckdb(threads).cursor()
        self.connection.execute(f"create temp macro context_length() as {context_length:d}")

    def fill(self, name: str, rows: Sequence[Row] | pa.Table) -> None:
        """Put rows in place of what table `name` holds; columns that a row leaves out are null."""
        if not isinstance(rows, pa.Table):
            schema = _schema(name)
            if schema is not None:
                unknown = {key for row in rows for key in row} - set(schema.names)
                assert not unknown, f"{name} has no column {unknown}"
            rows = pa.Table.from_pylist([USUAL.get(name, {}) | row for row in rows], schema=schema)
        self.connection.register("given_rows", rows)
        self.connection.execute(f"create or replace temp table {name} as select {_columns(name)} from given_rows")
        self.connection.unregister("given_rows")

    def table(self, name: str | Path, **values: Any) -> pa.Table:
        """The rows of `<name>.sql` as Arrow."""
        text = ready_text(self.connection, name)
        return self.connection.sql(text, params=self._parameters(name, values)).to_arrow_table()

    def _parameters(self, name: str | Path, values: dict[str, Any]) -> dict[str, Any]:
        known = self.values | values
        return {
            key: known[key] if key in known else config_value(CONFIG, key) for key in parameters_of(sql_text(name))
        }

    def rows(self, name: str | Path, **values: Any) -> list[Row]:
        """The rows of `<name>.sql`."""
        return self.table(name, **values).to_pylist()

    def make(self, *names: str, **values: Any) -> None:
        """Run SQL files one after the other, each into the table of its name, as the pipeline does."""
        for name in names:
            if name in TABLES:
                rows, schema = self.table(name, **values), _schema(name)
                assert rows.schema.names == schema.names
                self.fill(name, rows.cast(schema))
            else:
                text = f"create or replace temp table {name} as {ready_text(self.connection, name)}"
                self.connection.execute(text, self._parameters(name, values))

    def make_before(self, name: str, **values: Any) -> None:
        """Run the SQL files that the pipeline runs before this one."""
        self.make(*steps_before(name), **values)

    def run_stage(self, table: str, **values: Any) -> list[Row]:
        """Run every SQL file of a table's stage, and return the table's rows."""
        self.make(*STAGES[table].steps, **values)
        return self.read(table)

    def read(self, name: str) -> list[Row]:
        """What a table holds."""
        return self.connection.sql(f"from {name}").to_arrow_table().to_pylist()


class Document(NamedTuple):
    """A document of a corpus written by hand."""

    role: str
    token_ids: Sequence[int]


def fill_corpus(
    database: Database, documents: Sequence[Document], slot_tokens: int = 3, copied: Sequence[tuple[int, int]] = ()
) -> None:
    """Fill documents, contexts, slots and tokens: contexts cut in the order given, slots from position 1 on.

    End pieces are no slots; those listed in `copied` by (context_id, start) are no candidates. Token 7 is ' t7'.
    """
    length = database.values["corpus_context_length"]
    contexts: list[Row] = []
    slots: list[Row] = []
    rows: list[Row] = []
    for number, (role, token_ids) in enumerate(documents):
        doc_id = f"d{number}"
        rows.append(
            {
                "doc_id": doc_id,
                "source": "hand",
                "unit": doc_id,
                "text": "",
                "token_ids": list(token_ids),
                "n_tokens": len(token_ids),
                "first_context_id": len(contexts),
                "shard": 0,
                "role": role,
                "generation": 0,
            }
        )
        for first in range(0, len(token_ids), length):
            context = list(token_ids[first : first + length])
            place = {"context_id": len(contexts), "doc_id": doc_id}
            for start in range(1, len(context) - slot_tokens + 1, slot_tokens):
                is_copied = (len(contexts), start) in copied
                slots.append(
                    place
                    | {
                        "start": start,
                        "n_tokens": slot_tokens,
                        "role": role,
                        "is_copied": is_copied,
                        "is_candidate": not is_copied,
                    }
                )
            contexts.append(place | {"shard": 0, "token_ids": context})
    vocabulary = sorted({token_id for each in documents for token_id in each.token_ids})
    database.fill("documents", rows)
    database.fill("contexts", contexts)
    database.fill("slots", slots)
    database.fill("tokens", [{"token_id": token_id, "text": f" t{token_id}"} for token_id in vocabulary])


def fill_features(database: Database, n_features: int) -> None:
    """The SAE's row of `saes`."""
    database.fill("saes", [{"sae": SAE, "n_features": n_features}])


class Firing(NamedTuple):
    """A feature's activation on a token."""

    feature: int
    context_id: int
    position: int
    activation: float = 1.0


def fill_firings(database: Database, firings: Sequence[Firing | tuple[Any, ...]]) -> None:
    """Fill activations, in the order given."""
    length = database.values["corpus_context_length"]
    each = [Firing(*firing) for firing in firings]
    database.fill(
        "activations",
        [
            {
                "sae": SAE,
                "feature": firing.feature,
                "activation": firing.activation,
                "token_index": firing.context_id * length + firing.position,
            }
            for firing in each
        ],
    )


def by(rows: Sequence[Row], *keys: str) -> dict[Any, Row]:
    """Rows by the values of some columns, which must identify them."""
    found = {row[keys[0]] if len(keys) == 1 else tuple(row[key] for key in keys): row for row in rows}
    assert len(found) == len(rows), f"several rows with the same {keys}"
    return found


@cache
def _duckdb(threads: int | None) -> duckdb.DuckDBPyConnection:
    """The one DuckDB in memory of all tests with this number of threads; one is the fastest for few rows.

    It holds every table without rows, with the columns that its view computes. Nobody writes to these.
    """
    connection = duckdb.connect(config={"threads": threads or 1})
    connection.execute("create temp macro context_length() as 1")
    for name in [*TABLES, *OTHER_SCHEMAS]:
        connection.register("given_rows", _schema(name).empty_table())
        connection.execute(f"create table {name} as select {_columns(name)} from given_rows")
        connection.unregister("given_rows")
    return connection


def _columns(name: str) -> str:
    derived = TABLES[name].derived if name in TABLES else ()
    return ", ".join(["*", *(f"{each.expression} as {each.name}" for each in derived)])


def _schema(name: str) -> pa.Schema | None:
    schema = TABLES[name].schema if name in TABLES else OTHER_SCHEMAS.get(name)
    return schema and pa.schema([pa.field(each.name, _as_read(each.type)) for each in schema])


def _as_read(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind
