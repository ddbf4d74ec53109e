"""The inputs of the scores' SQL as tables in memory, and its formulas once more in plain Python.

The formulas are written from their definitions, pair by pair and document by document where SQL has a shortcut.
"""

import math
import re
import statistics
from collections.abc import Iterable, Sequence
from functools import cache
from statistics import NormalDist
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa

from pipeline.summary import student_quantiles
from pipeline.tables import TABLES
from pipeline.tables.macros import ready_text
from pipeline.tables.sql import sql_text

from .rows import steps_before

SAE = "layers.1"
CONTEXT_LENGTH = 64
VALUES = {
    "sae": SAE,
    "scoring_rho": 0.1,
    "scoring_min_coverage": 0.8,
    "scoring_max_interval": 0.5,
    "corpus_context_length": CONTEXT_LENGTH,
    "first_feature": 0,
    "end_feature": 1 << 20,
    "scoring_population_scorers": ["detection"],
    "scoring_grade_scorers": ["graded"],
    "scoring_activation_scorers": ["simulation"],
}

SAMPLE_STEPS = (
    *("question_answers", "rate_intervals", "balanced_accuracies", "choice_scores", "ranked_scores"),
    "sample_scores",
)
OTHER_STEPS = ("question_weights", "simulated_windows", "simulation_scores", "graded_scores")
RULE_STEPS = (*steps_before("rule_scores"), "rule_scores", "rule_exact")
STEPS = {
    "scores": (*SAMPLE_STEPS, *RULE_STEPS, *OTHER_STEPS, "scores"),
    "score_details": (*SAMPLE_STEPS, *RULE_STEPS, *OTHER_STEPS, "population_scores", "score_details"),
    "summary": (*steps_before("summary"), "summary"),
    "explainer_comparisons": (*steps_before("explainer_comparisons"), "explainer_comparisons"),
}
"""The SQL files of each table in their order, with those of the table rule_scores."""

_text, _ints = pa.string(), pa.list_(pa.int32())
INPUTS = {
    "explanations": pa.schema(
        [
            ("explanation_id", _text),
            ("sae", _text),
            ("feature", pa.int32()),
            ("explainer", _text),
            ("draw", pa.int32()),
            ("explanation", _text),
            ("example_ids", pa.list_(_text)),
            ("status", _text),
            ("request_id", _text),
            ("is_chosen", pa.bool_()),
            ("train_score", pa.float64()),
            ("judge_request_ids", pa.list_(_text)),
            ("place", pa.int32()),
            ("generation", pa.int32()),
        ]
    ),
    "stated_rule_scores": TABLES["stated_rule_scores"].schema,
    "predictions": pa.schema(
        [
            ("explanation_id", _text),
            ("scorer", _text),
            ("role", _text),
            ("question_id", _text),
            ("example_id", _text),
            ("marked", _ints),
            ("label", pa.bool_()),
            ("prediction", pa.bool_()),
            ("probability", pa.float64()),
            ("values", pa.list_(pa.float64())),
            ("n_choices", pa.int32()),
            ("strata", pa.list_(_text)),
            ("cluster", _text),
            ("status", _text),
            ("request_id", _text),
        ]
    ),
    "examples": pa.schema(
        [
            ("example_id", _text),
            ("sae", _text),
            ("feature", pa.int32()),
            ("context_id", pa.int64()),
            ("start", pa.int32()),
            ("peak", pa.float32()),
            ("role", _text),
            ("kind", _text),
            ("decile", pa.int8()),
            ("rank", pa.int32()),
            ("draw", pa.int32()),
            ("n_slots", pa.int32()),
            ("n_document_slots", pa.int32()),
            ("reach", pa.float64()),
            ("doc_id", _text),
            ("token_ids", _ints),
            ("activations", pa.list_(pa.float32())),
        ]
    ),
    "example_index": pa.schema(
        [
            ("sae", _text),
            ("feature", pa.int32()),
            ("role", _text),
            ("decile", pa.int8()),
            ("n_slots", pa.int32()),
        ]
    ),
    "feature_rules": pa.schema(
        [
            ("sae", _text),
            ("feature", pa.int32()),
            ("kind", _text),
            ("max_tokens", pa.int32()),
            ("target", _text),
            ("token_ids", _ints),
            ("is_chosen", pa.bool_()),
            ("token_class", _text),
            ("previous_token_ids", _ints),
            ("previous_class", _text),
            ("n_before", pa.int32()),
            ("is_excluded", pa.bool_()),
            ("position_below", pa.int32()),
        ]
    ),
    "tokens": pa.schema([("token_id", pa.int32()), ("text", _text), ("is_special", pa.bool_())]),
    "slots": pa.schema(
        [
            ("context_id", pa.int64()),
            ("start", pa.int32()),
            ("n_tokens", pa.int64()),
            ("doc_id", _text),
            ("role", _text),
            ("is_copied", pa.bool_()),
            ("is_candidate", pa.bool_()),
        ]
    ),
    "activations": pa.schema(
        [
            ("sae", _text),
            ("feature", pa.int32()),
            ("token_index", pa.int64()),
            ("activation", pa.float32()),
        ]
    ),
    "contexts": pa.schema([("context_id", pa.int64()), ("doc_id", _text), ("token_ids", _ints)]),
    "documents": pa.schema([("doc_id", _text), ("first_context_id", pa.int64()), ("role", _text)]),
    "feature_routes": pa.schema([("sae", _text), ("feature", pa.int32()), ("route", _text)]),
    "feature_stats": pa.schema(
        [
            ("sae", _text),
            ("feature", pa.int32()),
            ("max_activation_train", pa.float32()),
        ]
    ),
    "llm_requests": pa.schema(
        [
            ("request_id", _text),
            ("repeats", _text),
            ("sae", _text),
            ("feature", pa.int32()),
            ("purpose", _text),
            ("prompt_tokens", pa.int64()),
            ("cached_tokens", pa.int64()),
            ("completion_tokens", pa.int64()),
            ("cost_usd", pa.float64()),
            ("model", _text),
            ("resolved_model", _text),
            ("status", _text),
            ("duration_ms", pa.int64()),
            ("requested_at", _text),
        ]
    ),
    "scorer_rhos": pa.schema([("sae", _text), ("scorer", _text), ("rho", pa.float64())]),
    "student_quantiles": pa.schema([("n_features", pa.int64()), ("t", pa.float64())]),
    "scores": pa.schema(
        [
            ("explanation_id", _text),
            ("sae", _text),
            ("feature", pa.int32()),
            ("explainer", _text),
            ("scorer", _text),
            ("role", _text),
            ("balanced_accuracy", pa.float64()),
            ("ci_low", pa.float64()),
            ("ci_high", pa.float64()),
            ("auroc", pa.float64()),
            ("auroc_low", pa.float64()),
            ("auroc_high", pa.float64()),
            ("accuracy", pa.float64()),
            ("accuracy_low", pa.float64()),
            ("accuracy_high", pa.float64()),
            ("chance", pa.float64()),
            ("correlation", pa.float64()),
            ("correlation_low", pa.float64()),
            ("correlation_high", pa.float64()),
            ("n_scored", pa.int64()),
            ("n_unscored", pa.int64()),
            ("coverage", pa.float64()),
            ("balanced_accuracy_all_wrong", pa.float64()),
            ("balanced_accuracy_all_right", pa.float64()),
            ("accuracy_all_wrong", pa.float64()),
            ("accuracy_all_right", pa.float64()),
        ]
    ),
}
"""What the SQL reads, by hand: every table empty until filled."""

Row = dict[str, Any]


class ScoreDatabase:
    """The inputs of the scores, as temporary tables; columns that a row leaves out are null."""

    def __init__(self, threads: int = 2, confidence: float = 0.95, **values: Any) -> None:
        self.values = VALUES | {"scoring_z": z_of(confidence)} | values
        # A cursor has temporary tables of its own, which hide the empty ones that all share.
        self.connection = _duckdb(threads).cursor()
        self.fill("student_quantiles", student_quantiles(confidence, 100))

    def fill(self, name: str, rows: Sequence[Row] | pa.Table) -> None:
        """Put rows in place of what the table holds."""
        schema = INPUTS.get(name)
        if not isinstance(rows, pa.Table):
            unknown = {key for row in rows for key in row} - set(schema.names)
            assert not unknown, f"{name} has no column {unknown}"
            usual = {"explanations": {"is_chosen": True}, "llm_requests": {"status": "ok"}}.get(name, {})
            rows = pa.Table.from_pylist([usual | row for row in rows], schema=schema)
        self.connection.register("given_rows", rows)
        self.connection.execute(f"create or replace temp table {name} as from given_rows")
        self.connection.unregister("given_rows")

    def table(self, name: str) -> pa.Table:
        """The rows of `<name>.sql`, from the tables as they are."""
        text = ready_text(self.connection, name)
        return self.connection.sql(text, params=self._parameters(name)).to_arrow_table()

    def _parameters(self, name: str) -> dict[str, Any]:
        return {key: self.values[key] for key in re.findall(r"\$([a-z_]+)", re.sub(r"--.*", "", sql_text(name)))}

    def make(self, *names: str) -> None:
        """Run SQL files one after the other, each into the table of its name."""
        for name in names:
            text = f"create or replace temp table {name} as {ready_text(self.connection, name)}"
            self.connection.execute(text, self._parameters(name))

    def run(self, name: str) -> pa.Table:
        """The table by all of its steps."""
        *before, last = STEPS[name]
        self.make(*before)
        return self.table(last)

    def rows(self, name: str) -> list[Row]:
        """The table by all of its steps, as dictionaries."""
        return self.run(name).to_pylist()


class Interval(NamedTuple):
    """An estimate with its bounds."""

    value: float
    low: float
    high: float


@cache
def _duckdb(threads: int) -> duckdb.DuckDBPyConnection:
    """The one DuckDB in memory of all tests with this number of threads; it holds every input without rows."""
    connection = duckdb.connect(config={"threads": threads})
    for name, schema in INPUTS.items():
        connection.register("given_rows", schema.empty_table())
        connection.execute(f"create table {name} as from given_rows")
        connection.unregister("given_rows")
    return connection


def fill_index(connection: duckdb.DuckDBPyConnection, n_undrawn: int = 0) -> None:
    """Fill the example index by the strata of the examples, and the candidate slots of all of them.

    n_undrawn: further test slots, silent ones of which none was drawn. All features have as many silent slots.
    """
    connection.execute(f"""
        create or replace temp table example_index as
        select distinct sae, feature, role, decile, n_slots from examples where kind = 'activating';
        create or replace temp table slots as
        from memory.main.slots
        union all by name
        select 'test' as role, true as is_candidate
        from range((
            select (coalesce(max(n), 0) + {n_undrawn})::bigint
            from (
                select sum(n_slots) as n
                from (select distinct feature, kind, decile, n_slots from examples where role = 'test')
                group by feature
            )
        ))
    """)


def z_of(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)


def t_of(confidence: float, freedom: int) -> float:
    """Student's quantile at (1 + confidence) / 2, by bisection on the integral of its density."""
    constant = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)

    def half_mass(t: float) -> float:
        steps = 800
        width = t / steps
        density = [constant * (1 + (i * width) ** 2 / freedom) ** (-(freedom + 1) / 2) for i in range(steps + 1)]
        return width / 3 * (density[0] + density[-1] + 4 * sum(density[1:-1:2]) + 2 * sum(density[2:-1:2]))

    low, high = 0.0, 100.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if half_mass(middle) < confidence / 2 else (low, middle)
    return (low + high) / 2


def wilson(right: Sequence[bool], documents: Sequence[object] | None = None, rho: float = 0.1) -> Interval:
    """The roots p of (value - p)^2 = z^2 p (1 - p) / n, with n by the design effect."""
    n = effective(len(right), documents, rho)
    return wilson_of(sum(right) / len(right), n)


def effective(n: int, documents: Sequence[object] | None, rho: float) -> float:
    # How many questions a question's document has, on average over questions.
    per_document = sum(documents.count(document) for document in documents) / n if documents else 1
    return n / (1 + (per_document - 1) * rho)


def wilson_of(value: float, n: float, confidence: float = 0.95) -> Interval:
    z = z_of(confidence)
    a, b, c = 1 + z * z / n, -(2 * value + z * z / n), value * value
    root = math.sqrt(max(0.0, b * b - 4 * a * c))
    return Interval(value, (-b - root) / (2 * a), (-b + root) / (2 * a))


def mover(parts: Iterable[tuple[float, Interval]]) -> Interval:
    """A weighted sum of independent estimates."""
    parts = list(parts)
    value = sum(weight * each.value for weight, each in parts)
    below = math.sqrt(sum((weight * (each.value - each.low)) ** 2 for weight, each in parts))
    above = math.sqrt(sum((weight * (each.high - each.value)) ** 2 for weight, each in parts))
    return Interval(value, value - below, value + above)


def precision_of(recall: Interval, specificity: Interval, positives: float, negatives: float) -> Interval:
    def at(r: float, s: float) -> float:
        return r * positives / (r * positives + (1 - s) * negatives)

    return Interval(*(at(r, s) for r, s in zip(recall, specificity, strict=True)))


def f1_of(recall: Interval, specificity: Interval, positives: float, negatives: float) -> Interval:
    def at(r: float, s: float) -> float:
        return 2 * r * positives / (r * positives + (1 - s) * negatives + positives)

    return Interval(*(at(r, s) for r, s in zip(recall, specificity, strict=True)))


def auroc(positives: Sequence[float], negatives: Sequence[float], rho_effect: float = 1) -> Interval:
    """DeLong's estimate, pair by pair, with its interval on the logit scale.

    Each class has two more windows whose variance is Hanley and McNeil's.
    """

    def wins(one: float, other: float) -> float:
        return (one > other) + 0.5 * (one == other)

    of_positives = [sum(wins(p, q) for q in negatives) / len(negatives) for p in positives]
    of_negatives = [sum(wins(p, q) for p in positives) / len(positives) for q in negatives]
    value = sum(of_positives) / len(positives)
    expected = (2 * value**2 / (1 + value) - value**2, value / (2 - value) - value**2)
    variances = [
        ((len(of) - 1) * statistics.variance(of) + 2 * each) / (len(of) + 1) / len(of)
        for of, each in zip((of_positives, of_negatives), expected, strict=True)
    ]
    error = math.sqrt(rho_effect * sum(variances))
    half = z_of(0.95) * error / (value * (1 - value))
    logit = math.log(value / (1 - value))
    return Interval(value, 1 / (1 + math.exp(half - logit)), 1 / (1 + math.exp(-half - logit)))


def average_precision(positives: Sequence[float], negatives: Sequence[float]) -> float:
    """Sum over thresholds of the gain in recall times the precision."""
    total, recall = 0.0, 0.0
    for threshold in sorted({*positives, *negatives}, reverse=True):
        right = sum(p >= threshold for p in positives)
        wrong = sum(q >= threshold for q in negatives)
        total += (right / len(positives) - recall) * right / (right + wrong)
        recall = right / len(positives)
    return total


def ratio(pairs: Sequence[tuple[float, float]]) -> Interval:
    """A ratio of sums over documents, (y, x) each, with the interval of its logit, by linearisation."""
    k = len(pairs)
    y, x = sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)
    value = y / x
    error = math.sqrt(k / (k - 1) * sum((y_d - value * x_d) ** 2 for y_d, x_d in pairs)) / x
    effective = max(6, x**2 / sum(x_d**2 for _, x_d in pairs))
    logit, half = math.log(value / (1 - value)), t_of(0.95, effective - 1) * error / (value * (1 - value))
    return Interval(value, 1 / (1 + math.exp(half - logit)), 1 / (1 + math.exp(-logit - half)))
