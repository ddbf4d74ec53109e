"""Rules' lists and token classes as arrays."""

import numpy as np
import pyarrow as pa

from pipeline.compiled.inputs import Inputs
from pipeline.compiling import Bytes, Int32s, Ints

NO_TOKEN = 1 << 7
"""The bit of a class without any token in the vocabulary."""


def class_bits(inputs: Inputs) -> dict[str, int]:
    """The bit of each class with tokens in the vocabulary."""
    names = sorted(set(inputs.table("token_classes")["token_class"].to_pylist()))
    return {name: 1 << number for number, name in enumerate(names)}


def token_class_bits(inputs: Inputs) -> Bytes:
    """The classes of each token of the vocabulary, as bits, uint8 [n_tokens]."""
    rows, bit_of = inputs.table("token_classes"), class_bits(inputs)
    token_id = rows["token_id"].to_numpy()
    (last,) = inputs.connection.table("tokens").max("token_id").fetchall()[0]
    bits = np.zeros(max(inputs.corpus.n_tokens, (last or 0) + 1), np.uint8)
    names = np.asarray(rows["token_class"].to_pylist())
    for name, bit in bit_of.items():
        bits[token_id[names == name]] |= bit
    return bits


def flattened(column: pa.ChunkedArray) -> tuple[Ints, Int32s]:
    """A column of lists (null is empty) as the start of each list, [n + 1], and all values."""
    lists = column.combine_chunks()
    lengths = lists.value_lengths().fill_null(0).to_numpy().astype(np.int64)
    return np.concatenate([[0], np.cumsum(lengths)]), lists.flatten().to_numpy().astype(np.int32)
