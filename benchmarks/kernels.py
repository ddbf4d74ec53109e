"""Compiled loops against the fastest other code that gives the same rows, and against the SQL that defines them.

A loop stays compiled as long as this shows that it pays: the fastest other way takes at least `PAYS` times its
CPU time, at both scales. Passes over firings are measured on the same buckets, spread over the SAE; the loops of
rules, strata and co-firings on a share of the features or tokens that SQL can hold; those of the forward pass on
random numbers. Arrays are compared here, whole tables in `tests/compiled`.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.figures import Figure
from benchmarks.other_ways import (
    SUMMED,
    Arrays,
    changes,
    count_occurrences_by_numpy,
    count_pairs_by_numpy,
    count_pairs_by_polars,
    count_previous_tokens_by_numpy,
    count_previous_tokens_by_polars,
    features_of,
    find_above_by_torch,
    find_largest_by_torch,
    find_peaks_by_numpy,
    find_peaks_by_polars,
    in_order_by_numpy,
    index_by_token_by_numpy,
    most_cofiring_by_scipy,
    order_strengths_by_numpy,
    round_rows_by_torch,
    rule_sums_by_numpy,
)
from benchmarks.synthetic import SAE, Size, open_synthetic
from pipeline.compiled.cofirings import N_MOST, counted_firings, list_by_token, most_cofiring
from pipeline.compiled.counting import STRONG_SHARE, Counts
from pipeline.compiled.drawing import by_side
from pipeline.compiled.inputs import Inputs
from pipeline.compiled.passes import (
    count_occurrences,
    count_pairs,
    count_previous_tokens,
    find_peaks,
    order_strengths,
)
from pipeline.compiled.rows import compiled_rows
from pipeline.compiled.rules.inverted_index import index_by_token
from pipeline.compiled.segments import order_segments
from pipeline.compiling import Ints
from pipeline.firings.buckets import Bucket, CorpusTokens, open_corpus_tokens
from pipeline.firings.files import Firings, in_order
from pipeline.firings.layout import BUCKET_FEATURES, ROUNDED_BITS, n_buckets_of
from pipeline.lake import Lake
from pipeline.models.rounding import round_on_cpu
from pipeline.sae.firing import find_above, find_largest
from pipeline.tables.compiled import COMPILED
from pipeline.tables.sql import sql_text, steps_of
from pipeline.tables.steps import reads_corpus

PAYS = 1.3
N_BUCKETS = 8
N_FEATURES = 128
"""Features whose rules and strata are made; SQL holds every firing's preceding tokens at once."""

N_COFIRINGS = 500_000
"""Firings whose pairs are counted; SQL holds every pair of features at once."""

N_TOKENS = 1024
"""Tokens of the random pre-activations, and rows of the random inputs of an int8 layer."""


class Kernel(NamedTuple):
    """A compiled function and other ways to its result; `feature_counts` needs two, and is under the second.

    Attributes:
        compiled: Runs the compiled function on the current inputs.
        others: The same with numpy, Polars, scipy or torch, by the library.
        sql: The SQL files whose rows it makes; none if it only sorts the input of SQL.
        is_ordered: Whether all ways give the rows in the same order.
    """

    compiled: Callable[[], Any]
    others: Mapping[str, Callable[[], Any]]
    sql: tuple[str, ...] = ()
    is_ordered: bool = True


Times = dict[str, dict[str, float]]
"""CPU seconds by kernel, and by the way to its rows."""


def measure_kernels(size: Size, folder: Path) -> list[Figure]:
    """CPU seconds of every kernel and of its alternatives, and the ratio of the fastest alternative to it."""
    lake = open_synthetic(size, folder)
    n_buckets = n_buckets_of(size.n_features)
    chosen = range(0, n_buckets, max(n_buckets // N_BUCKETS, 1))
    pre = f"{N_TOKENS:,} tokens, {size.n_features:,} features"
    measured = {
        f"{len(chosen)} buckets": _by_bucket(lake, chosen),
        f"{N_FEATURES} features; the index, of the whole corpus": _of_rules(lake),
        f"{N_FEATURES} features of a batch": _of_examples(lake),
        f"{N_BUCKETS} buckets at once": _of_tokens(lake),
        f"{N_COFIRINGS:,} firings": _of_cofirings(lake),
        pre: _timed(_of_pre_activations(size)),
        f"{N_TOKENS:,} rows of 2,048 numbers": _timed(_of_rounding()),
    }
    return [
        figure
        for on, spent in measured.items()
        for name, times in spent.items()
        for figure in _figures(name, times, on)
    ]


def _figures(name: str, times: Mapping[str, float], on: str) -> list[Figure]:
    others = {how: seconds for how, seconds in times.items() if how != "compiled"}
    best = min(others, key=lambda how: others[how])
    words = ", ".join(f"{how} {seconds:.2f} s" for how, seconds in others.items())
    return [
        Figure(f"{name}_cpu_s", times["compiled"], "s", note=f"compiled, {on}"),
        Figure(f"{name}_plain_cpu_s", others[best], "s", note=words),
        Figure(f"{name}_ratio", others[best] / times["compiled"], "", PAYS, "higher", note=f"{best} / compiled"),
    ]


def _time(spent: Times, kernels: Mapping[str, Kernel], select: Callable[[str], Any]) -> None:
    """Add the CPU seconds of kernels; `select` gives what runs a SQL file."""
    for name, kernel in kernels.items():
        times = spent.setdefault(name, {})
        given = _clock(times, "compiled", kernel.compiled)
        for how, other in kernel.others.items():
            _compare(name, given, _clock(times, how, other), kernel.is_ordered)
        for file in kernel.sql:
            _clock(times, "SQL", select(file))


def _timed(kernels: Mapping[str, Kernel]) -> Times:
    """CPU seconds of kernels that need no SQL, after everything is loaded."""
    for kernel in kernels.values():
        kernel.compiled()
    spent: Times = {}
    _time(spent, kernels, sql_text)
    return spent


def _clock(times: dict[str, float], how: str, work: Callable[[], Any]) -> Any:
    begin = time.process_time()
    result = work()
    times[how] = times.get(how, 0.0) + time.process_time() - begin
    return result


def _compare(name: str, one: Any, other: Any, is_ordered: bool) -> None:
    """Raise RuntimeError unless both ways gave the same arrays."""
    pairs = zip(*(_arrays(each, is_ordered) for each in (one, other)), strict=True)
    if not all(np.array_equal(left, right) for left, right in pairs):
        raise RuntimeError(f"{name}: the compiled loop and another way give different values")


def _arrays(given: Any, is_ordered: bool) -> Sequence[Any]:
    arrays = [np.asarray(each) for each in (given if isinstance(given, tuple) else (given,))]
    return arrays if is_ordered else [each[np.lexsort(arrays[::-1])] for each in arrays]


def _by_bucket(lake: Lake, chosen: Iterable[int]) -> Times:
    """The passes over a bucket's firings."""
    spent: Times = {}
    with lake.connect(SAE) as connection:
        lake.create(connection, "candidate_slots", sae=SAE)
        with open_corpus_tokens(lake, connection) as corpus:
            first, *others = chosen
            for bucket in (first, first, *others):  # the first one twice, to compile and load everything
                if bucket == first:
                    spent.clear()
                features = range(bucket * BUCKET_FEATURES, (bucket + 1) * BUCKET_FEATURES)
                inputs = Inputs(lake, SAE, features, corpus, connection)
                _time(spent, _kernels(inputs), lambda file: lake.select(connection, file, sae=SAE).to_arrow_table)
    return spent


def _of_rules(lake: Lake) -> Times:
    """The loops that find rules and count what they match.

    The counts of tokens before each token, which a run makes once, are made anew; the inverted index has a line of
    its own. The SQL of `rule_sums` is left out: it pairs every token with every rule that names none, for minutes.
    """
    values = {"sae": SAE, "first_feature": 0, "end_feature": N_FEATURES}
    with lake.connect(SAE) as connection:
        spent = _of_steps(lake, connection, steps_of("rule_sets"), values)
        for step in ("proved_rules", "corpus_documents"):
            lake.create(connection, step, **values)
        kept: dict[str, Any] = {}
        with open_corpus_tokens(lake, connection) as corpus:

            def inputs() -> Inputs:
                kept.pop("forms", None)
                return Inputs(lake, SAE, range(N_FEATURES), corpus, connection, {}, kept)

            documents = connection.sql("select document_number from corpus_documents").fetchnumpy()
            contexts = np.arange(len(corpus.tokens) // corpus.context_length)
            numbers = np.searchsorted(documents["document_number"], contexts, side="right").astype(np.int32) - 1
            given = corpus.tokens, corpus.context_length, numbers, corpus.n_tokens
            kernels = {
                "rule_sums": Kernel(
                    lambda: tuple(compiled_rows("rule_sums", inputs()).select(SUMMED)),
                    {"numpy": lambda: rule_sums_by_numpy(inputs())},
                ),
                "index_by_token": Kernel(
                    lambda: index_by_token(lake, *given), {"numpy": lambda: index_by_token_by_numpy(*given)}
                ),
            }
            return spent | _timed(kernels)


def _of_examples(lake: Lake) -> Times:
    """The loop that counts which slots tokens and neighbours claim, and the windows with their activations."""
    values = {"sae": SAE, "batch": 0, "first_feature": 0, "end_feature": BUCKET_FEATURES}
    with lake.connect(SAE, 0) as connection:
        some = lake.select(connection, "batch_features", **values).order("feature").limit(N_FEATURES)
        connection.register("batch_features", some.to_arrow_table())
        steps = steps_of("silent_strata", "rendered_windows", given={"batch_features"})
        return _of_steps(lake, connection, steps, values)


def _of_tokens(lake: Lake) -> Times:
    """What Polars makes of `feature_tokens`."""
    values = {"sae": SAE, "first_feature": 0, "end_feature": N_BUCKETS * BUCKET_FEATURES}
    with lake.connect(SAE) as connection:
        return _of_steps(lake, connection, ("feature_masses", "heaviest_tokens"), values)


def _of_steps(
    lake: Lake, connection: duckdb.DuckDBPyConnection, steps: Iterable[str | Path], values: Mapping[str, Any]
) -> Times:
    """The compiled ones of some steps, each from the rows of those before it."""
    spent: Times = {}
    features = range(values["first_feature"], values["end_feature"])
    for step in map(str, steps):
        if step not in COMPILED:
            lake.create(connection, step, **values)
            continue
        with ExitStack() as stack:
            corpus = stack.enter_context(open_corpus_tokens(lake, connection)) if reads_corpus(step) else None

            def rows(step: str = step, corpus: CorpusTokens | None = corpus) -> pa.Table:
                return compiled_rows(step, Inputs(lake, SAE, features, corpus, connection))

            made = rows()  # to compile and load everything
            kernel = Kernel(rows, {}, (step,))
            _time(spent, {step: kernel}, lambda file: lake.select(connection, file, **values).to_arrow_table)
        connection.register(step, made)
    return spent


def _of_cofirings(lake: Lake) -> Times:
    """The loops that count the pairs of firings on a token."""
    heuristics = lake.config.heuristics.model_copy(update={"cofiring_firings": N_COFIRINGS})
    lake = Lake(lake.config.model_copy(update={"heuristics": heuristics}), lake.hashes)
    spent: Times = {}
    with lake.connect(SAE) as connection:
        lake.create(connection, "cofiring_tokens", sae=SAE)
        token_index = connection.table("cofiring_tokens").fetchnumpy()["token_index"]
        starts, token = counted_firings(lake, SAE, token_index)
        counted = {"feature": features_of(starts).astype(np.int32), "token_index": token_index[token]}
        connection.register("activations", pa.table(counted))
        given = starts, token, len(token_index)
        kernel = Kernel(
            lambda: _filled(*most_cofiring(starts, token, *list_by_token(*given), N_MOST)),
            {"scipy": lambda: _filled(*most_cofiring_by_scipy(*given, N_MOST))},
            ("feature_cofirings",),
        )
        kernel.compiled()
        _time(
            spent,
            {"most_cofiring": kernel},
            lambda file: lake.select(connection, file, sae=SAE).to_arrow_table,
        )
    return spent


def _filled(n_found: Ints, *columns: npt.NDArray[Any]) -> Arrays:
    """The rows found; what lies behind them in each list was never written."""
    is_found = np.arange(columns[0].shape[1]) < n_found[:, None]
    return n_found, *(column[is_found] for column in columns)


def _of_pre_activations(size: Size) -> dict[str, Kernel]:
    """The search of a forward pass for what fires, with 32 firings a token."""
    generator = torch.Generator().manual_seed(0)
    pre = torch.randn(N_TOKENS, size.n_features, generator=generator)
    threshold = pre[:16].flatten().kthvalue(16 * (size.n_features - 32)).values
    return {
        "find_largest": Kernel(
            lambda: find_largest(pre, 32), {"torch": lambda: find_largest_by_torch(pre, 32)}, is_ordered=False
        ),
        "find_above": Kernel(
            lambda: find_above(pre, threshold), {"torch": lambda: find_above_by_torch(pre, threshold)}
        ),
    }


def _of_rounding() -> dict[str, Kernel]:
    """The rounding of an int8 layer's inputs."""
    rows = torch.randn(N_TOKENS, 2048, generator=torch.Generator().manual_seed(0))
    return {"round_rows": Kernel(lambda: round_on_cpu(rows), {"torch": lambda: round_rows_by_torch(rows)})}


def _kernels(inputs: Inputs) -> dict[str, Kernel]:
    """Every kernel on a bucket's inputs; SQL reads the bucket's tables by their names."""
    lake, corpus, firings, first = inputs.lake, inputs.corpus, inputs.firings, inputs.features.start
    runs = _runs(lake, first // BUCKET_FEATURES)
    starts, activation, at = firings.starts, firings.activation, corpus.tokens[firings.token_index]
    top_share = lake.config.heuristics.top_share
    slots = corpus.slot_context, corpus.slot_document, corpus.slot_is_train
    strengths = order_strengths(starts, activation, at, ROUNDED_BITS, top_share)
    strong_cut = STRONG_SHARE * strengths.largest_train.astype(np.float64)
    _make_steps(inputs)
    active_starts, active = by_side(inputs, "active_slots")
    ordered = starts, activation, at
    cuts = strengths.top_cut, strong_cut
    return {
        "in_order": Kernel(
            lambda: tuple(in_order(runs, first, BUCKET_FEATURES)),
            {"numpy": lambda: tuple(in_order_by_numpy(runs, first))},
        ),
        "count_occurrences": Kernel(
            lambda: count_occurrences(*ordered, *slots, corpus.context_length),
            {"numpy": lambda: count_occurrences_by_numpy(*ordered, *slots, corpus.context_length)},
            ("position_counts",),
        ),
        "order_strengths": Kernel(
            lambda: tuple(order_strengths(*ordered, ROUNDED_BITS, top_share)),
            {"numpy": lambda: order_strengths_by_numpy(*ordered, top_share)},
            ("feature_counts", "feature_cuts"),
        ),
        "count_pairs": Kernel(
            lambda: tuple(count_pairs(*ordered, *cuts, corpus.n_tokens))[1:],
            {
                "numpy": lambda: count_pairs_by_numpy(*ordered, *cuts),
                "Polars": lambda: count_pairs_by_polars(*ordered, *cuts),
            },
            ("feature_tokens",),
        ),
        "count_previous_tokens": Kernel(
            lambda: count_previous_tokens(*ordered, strengths.top_cut, corpus.n_tokens),
            {
                "numpy": lambda: count_previous_tokens_by_numpy(*ordered, strengths.top_cut),
                "Polars": lambda: count_previous_tokens_by_polars(*ordered, strengths.top_cut),
            },
            ("feature_previous_tokens",),
        ),
        "find_peaks": Kernel(
            lambda: find_peaks(*ordered),
            {"numpy": lambda: find_peaks_by_numpy(*ordered), "Polars": lambda: find_peaks_by_polars(*ordered)},
            ("slot_peaks",),
        ),
        "kept_slots": Kernel(lambda: compiled_rows("kept_slots", inputs), {}, ("kept_slots",)),
        "order_segments": Kernel(
            lambda: order_segments(active["lot"], active_starts),
            {"numpy": lambda: np.lexsort((active["lot"], features_of(active_starts).astype(np.int16)))},
        ),
    }


def _runs(lake: Lake, bucket: int) -> list[Firings]:
    """A bucket's firings, one run per file of the shards."""
    runs = []
    for shard in range(lake.config.corpus.shards):
        for path in sorted(lake.path("activation_shards", sae=SAE, shard=shard).glob("*.parquet")):
            with pq.ParquetFile(path) as file:
                rows = file.read_row_group(bucket, ["feature", "token_index", "activation"], use_threads=False)
            feature, token_index, activation = (column.to_numpy() for column in rows.columns)
            runs.append(Firings(feature, token_index.astype(np.int64), activation))
    return runs


def _make_steps(inputs: Inputs) -> None:
    """Register the inputs of the SQL files with the connection, as arrays where the pipeline has arrays."""
    counts, made, connection = Counts(inputs), inputs.made, inputs.connection
    connection.register("firings", _firings(inputs.corpus, inputs.firings))
    made |= {"feature_cuts": counts.feature_cuts(), "slot_peaks": counts.slot_peaks()}
    connection.register("slot_peaks", made["slot_peaks"])
    made["active_slots"] = inputs.lake.select(connection, "active_slots", sae=SAE).to_arrow_table()
    for name, rows in made.items():
        connection.register(name, rows)


def _firings(corpus: CorpusTokens, firings: Bucket) -> pa.Table:
    """The rows of `sql/compiled/firings.sql` for a bucket."""
    at = corpus.tokens[firings.token_index]
    feature, slot = features_of(firings.starts), at["slot"]
    begins = {name: np.zeros(len(at), bool) for name in ("begins_slot", "begins_context", "begins_document")}
    inside = np.flatnonzero(slot >= 0)
    of = slot[inside].astype(np.int64), corpus.slot_context[slot[inside]], corpus.slot_document[slot[inside]]
    for flags, number in zip(begins.values(), of, strict=True):
        flags[inside[changes(feature[inside], number)]] = True
    columns = {name: at[name] for name in ("position", "token_id", "previous_token_id")}
    return pa.table(
        {
            "feature": firings.features[feature],
            "activation": firings.activation,
            "is_train": at["is_counted"],
            "slot": pa.array(slot, mask=slot < 0),
            **columns,
            **begins,
        }
    )
