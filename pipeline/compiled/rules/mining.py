"""The parts of rules: tokens before a feature's firings that predict them, and the best sets of tokens.

A firing has as many tokens before it as the widest window, and each may be counted under several conditions on the
firing's own token: none, a class, one of two sets. Candidates are kept if a rule with them could beat the
feature's best tokens, which most features have none of. DuckDB would hash every firing and token before it, and
sort the candidates of every set in each round. A test compares the rows with those of the SQL files.
"""

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.compiled.inputs import Inputs
from pipeline.compiled.rules.arrays import flattened, token_class_bits
from pipeline.compiled.rules.candidates import Limits, Wanted, Windows
from pipeline.compiled.rules.choosing_loops import choose_sets
from pipeline.compiled.rules.mining_loops import N_SETS, add_pairs, count_contexts
from pipeline.compiling import Doubles, Int32s, Ints
from pipeline.firings.buckets import mapped, read_features


def context_candidates(inputs: Inputs) -> pa.Table:
    """`sql/compiled/context_candidates.sql`."""
    rules = inputs.lake.config.rules
    bases = inputs.table("rule_bases").sort_by("feature")
    windows = inputs.kept("windows", lambda: _windows(inputs))
    limits = Limits(rules.min_support, rules.discount, rules.chosen_max_tokens)
    feature = bases["feature"].to_numpy().astype(np.int64)
    floor = bases["floor_f1"].to_numpy()
    lists = [flattened(bases[name]) for name in ("near_token_ids", "wide_token_ids")]
    codes, sums = [np.empty((0, 5), np.int64)], [np.empty((0, 5))]
    for bucket in read_features(inputs.lake, inputs.sae, feature):
        low, high = np.searchsorted(feature, [bucket.features[0], bucket.features[-1] + 1])
        found = count_contexts(
            bucket.starts,
            bucket.token_index,
            inputs.corpus.tokens,
            Wanted(floor[low:high], *_interleaved(lists, low, high)),
            windows,
            limits,
        )
        found.codes[:, 0] = bucket.features[found.codes[:, 0]]
        codes.append(found.codes)
        sums.append(found.sums)
    return _table(inputs, np.concatenate(codes), np.concatenate(sums), windows)


def rule_sets(inputs: Inputs) -> pa.Table:
    """`sql/compiled/rule_sets.sql`."""
    rules = inputs.lake.config.rules
    parts = [pl.DataFrame(inputs.table(name)) for name in ("rule_candidates", "context_candidates")]
    parts = [parts[0], parts[1].with_columns(target=pl.lit("any"))]
    rows = pl.concat([each.with_columns(*_casts(each)) for each in parts], how="diagonal").with_columns(
        pl.col("is_excluded").fill_null(False), pl.col("n_base_hits", "n_base_tokens").fill_null(0)
    )
    rows = rows.sort(_PURPOSE, maintain_order=True)
    number = rows.select(pl.struct(_PURPOSE).rle_id()).to_series().to_numpy().astype(np.int64)
    starts = np.searchsorted(number, np.arange(number.max(initial=-1) + 2))
    purposes = rows[starts[:-1]]
    limits, is_one = np.array(rules.max_tokens, np.int64), purposes["token_id"].is_null().to_numpy()
    most = np.where(purposes["n_before"].is_null(), limits[-1], rules.chosen_max_tokens)
    sets = choose_sets(
        starts,
        rows["token_id"].fill_null(-1).to_numpy(),
        rows.select("n_hits", "n_tokens").to_numpy(order="c"),
        purposes.select("n_targets", "n_base_hits", "n_base_tokens").to_numpy(order="c"),
        np.where(is_one, limits[0], most),
        limits,
        rules.discount,
    )
    of = pa.array(sets.purpose)
    tokens = pa.array(sets.token_ids, mask=sets.token_ids < 0)
    token_ids = pa.ListArray.from_arrays(sets.starts.astype(np.int32), tokens)
    columns = {name: purposes[name].to_arrow().take(of) for name in (*_PURPOSE, "n_targets")}
    columns |= {"max_tokens": limits[sets.limit].astype(np.int32), "token_ids": token_ids}
    return pa.table(columns | {"n_hits": sets.sums[:, 0], "n_tokens": sets.sums[:, 1]})


_PURPOSE = ("feature", "target", "token_class", "token_set", "n_before", "is_excluded", "position_below")
"""The purpose of a set: the columns that distinguish it from other sets."""


def _casts(rows: pl.DataFrame) -> list[pl.Expr]:
    """Casts that give the rows of two queries the same types."""
    kinds: dict[str, type[pl.DataType]] = {
        **dict.fromkeys(("target", "token_class"), pl.String),
        **dict.fromkeys(("feature", "token_id", "token_set", "n_before", "position_below"), pl.Int32),
    }
    return [pl.col(name).cast(kind) for name, kind in kinds.items() if name in rows.columns]


def _table(inputs: Inputs, codes: Ints, sums: Doubles, windows: Windows) -> pa.Table:
    """Candidates as rows of the SQL file."""
    feature, condition, window, term, is_excluded = codes.T
    classes = sorted(set(inputs.table("token_classes")["token_class"].to_pylist()))
    is_position, is_set = window < 0, condition > len(classes)
    names = pa.array([None, *classes, *[None] * N_SETS], pa.string())
    return pa.table(
        {
            "feature": feature.astype(np.int32),
            "token_class": names.take(pa.array(condition)),
            "token_set": pa.array((condition - len(classes)).astype(np.int32), mask=~is_set),
            "n_before": pa.array(windows.sizes[window].astype(np.int32), mask=is_position),
            "is_excluded": is_excluded.astype(bool),
            "token_id": pa.array(term.astype(np.int32), mask=is_position),
            "position_below": pa.array(term.astype(np.int32), mask=~is_position),
            **dict(zip(("n_hits", "n_tokens", "n_targets", "n_base_hits", "n_base_tokens"), sums.T, strict=True)),
        }
    )


def _interleaved(lists: list[tuple[Ints, Int32s]], low: int, high: int) -> tuple[Ints, Int32s]:
    """The sets of the features from `low` to below `high`, feature by feature: starts and tokens."""
    sets = [tokens[starts[row] : starts[row + 1]] for row in range(low, high) for starts, tokens in lists]
    lengths = [len(each) for each in sets]
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return starts, np.concatenate([np.empty(0, np.int32), *sets])


def _windows(inputs: Inputs) -> Windows:
    """`train_windows` and `train_positions` as arrays."""
    sizes = np.array(sorted(inputs.lake.config.rules.windows), np.int64)
    bits = token_class_bits(inputs)
    n_tokens, n_classes = len(bits), int(bits.max(initial=0)).bit_length()
    rows = inputs.connection.table("train_windows")
    (n_pairs,) = rows.count("*").fetchall()[0]
    before, n = (mapped(inputs.lake, n_pairs, np.dtype(np.int32)) for _ in range(2))
    counts = np.zeros((len(sizes), n_tokens), np.int64)
    anywhere = np.zeros((len(sizes), n_classes + 1, n_tokens), np.int64)
    end = 0
    for batch in rows.to_arrow_reader(1 << 20):
        window = np.searchsorted(sizes, batch["n_before"].to_numpy())
        token, other, n_here = (batch[name].to_numpy() for name in ("token_id", "previous_token_id", "n_tokens"))
        begin, end = end, end + len(token)
        before[begin:end], n[begin:end] = other, n_here
        np.add.at(counts, (window, token), 1)
        add_pairs(window, token, other, n_here, bits, anywhere)
    firsts = np.concatenate([[0], np.cumsum(counts)])
    starts = np.stack([firsts[first * n_tokens : (first + 1) * n_tokens + 1] for first in range(len(sizes))])
    positions = inputs.table("train_positions")
    position_tokens = np.zeros(inputs.corpus.context_length, np.int64)
    position_tokens[positions["position"].to_numpy()] = positions["n_tokens"].to_numpy()
    position_tokens[0] = 0
    return Windows(sizes, starts, before, n, bits, anywhere, position_tokens)
