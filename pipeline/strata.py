"""The strata of a batch's silent slots: the rows of `sql/silent_strata.sql` from arrays.

A frequent token stands in most slots, and a batch has thousands of them. Here the claims of tokens and neighbours
on slots are counted for one feature after the other, so that memory does not grow with their number; in SQL, 900
features on 10 million tokens need more than 4 GB. A test compares the two.
"""

from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from pipeline.compiled import Ints, compiled, group_rows
from pipeline.lake import Lake

_KINDS = ("active", "same_token", "neighbour", "random")
_RANDOM = 3

_PAIRS = {
    "fires_in": "select feature, slot from batch_slots",
    "stands_in": "select token_id, slot from token_slots",
    "tokens": (
        "select s.feature, unnest(s.top_tokens).token_id from feature_stats as s "
        "semi join batch_features using (feature)"
    ),
    "neighbours": (
        "select n.feature, n.neighbour from feature_neighbours as n semi join batch_features using (feature)"
    ),
    "drawn": (
        "select i.feature, s.slot from example_index as i semi join batch_features using (feature) "
        "join candidate_slots as s on s.context_id = i.context_id and s.start = i.start where i.kind = 'silent'"
    ),
}


def fill_table(lake: Lake, connection: duckdb.DuckDBPyConnection, name: str, **values: Any) -> None:
    """Make the rows of `sql/<name>.sql` the table `name` of a connection, from arrays where there are some."""
    if name == "silent_strata":
        connection.register(name, silent_strata(connection, lake.config.sae(values["sae"]).n_features))
    else:
        lake.create_temporary(connection, name, **values)


def silent_strata(connection: duckdb.DuckDBPyConnection, n_features: int) -> pa.Table:
    """The rows of `sql/silent_strata.sql`, from the tables of the connection that it reads."""
    columns = {name: _columns(connection, query) for name, query in _PAIRS.items()}
    n_tokens = int(columns["tokens"][1].max(initial=-1)) + 1
    fires_in, stands_in, tokens, neighbours, drawn = (
        _grouped(columns[name], n_tokens if name == "stands_in" else n_features) for name in _PAIRS
    )
    (features,) = _columns(connection, "select feature from batch_features order by feature")
    (is_train,) = _columns(connection, "select (role = 'train')::int from candidate_slots order by slot")
    claim, counts = _claims(features, *fires_in, *stands_in, *tokens, *neighbours, *drawn, is_train)
    counts[:, :, _RANDOM] = np.bincount(is_train, minlength=2) - counts.sum(axis=2)
    starts, slot = drawn
    feature = np.repeat(np.arange(n_features), np.diff(starts))
    n_slots = counts[np.searchsorted(features, feature), is_train[slot], claim]
    kind = pa.array(_KINDS).take(pa.array(claim))
    return pa.table({"feature": feature, "slot": slot, "kind": kind, "n_slots": n_slots})


def _columns(connection: duckdb.DuckDBPyConnection, query: str) -> list[Ints]:
    return [column.to_numpy().astype(np.int64) for column in connection.sql(query).to_arrow_table().columns]


def _grouped(columns: Sequence[Ints], n_keys: int) -> tuple[Ints, Ints]:
    """Values by keys below n_keys, a column each: the first place of each key, [n_keys + 1], and the values."""
    keys, values = columns
    place, starts = group_rows(keys.astype(np.int32), n_keys)
    grouped = np.empty(len(values), np.int64)
    grouped[place] = values
    return starts, grouped


@compiled
def _claims(
    features: Ints,
    fires_starts: Ints,
    fires_slot: Ints,
    stands_starts: Ints,
    stands_slot: Ints,
    token_starts: Ints,
    token: Ints,
    neighbour_starts: Ints,
    neighbour: Ints,
    drawn_starts: Ints,
    drawn_slot: Ints,
    is_train: Ints,
) -> tuple[Ints, Ints]:
    """The kind of each drawn slot, [n_drawn], and each feature's slots by role and kind, [n_features, 2, 4].

    Arguments come in pairs: the first place of each feature or token, and the slots, tokens, or neighbours of all.
    A slot is of the first kind that applies; random ones are not counted.
    """
    kinds = np.empty(len(drawn_slot), np.int64)
    counts = np.zeros((len(features), 2, 4), np.int64)
    kind_of, claimed_for = np.empty(len(is_train), np.int64), np.full(len(is_train), -1, np.int64)
    for i in range(len(features)):
        feature = features[i]
        for place in range(fires_starts[feature], fires_starts[feature + 1]):
            slot = fires_slot[place]
            claimed_for[slot], kind_of[slot] = i, 0
            counts[i, is_train[slot], 0] += 1
        for at in range(token_starts[feature], token_starts[feature + 1]):
            for place in range(stands_starts[token[at]], stands_starts[token[at] + 1]):
                slot = stands_slot[place]
                if claimed_for[slot] != i:
                    claimed_for[slot], kind_of[slot] = i, 1
                    counts[i, is_train[slot], 1] += 1
        for at in range(neighbour_starts[feature], neighbour_starts[feature + 1]):
            for place in range(fires_starts[neighbour[at]], fires_starts[neighbour[at] + 1]):
                slot = fires_slot[place]
                if claimed_for[slot] != i:
                    claimed_for[slot], kind_of[slot] = i, 2
                    counts[i, is_train[slot], 2] += 1
        for place in range(drawn_starts[feature], drawn_starts[feature + 1]):
            slot = drawn_slot[place]
            kinds[place] = kind_of[slot] if claimed_for[slot] == i else 3
    return kinds, counts
