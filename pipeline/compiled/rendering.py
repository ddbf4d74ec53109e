"""Windows with their tokens and activations: the rows of `sql/compiled/rendered_windows.sql`, from arrays.

DuckDB would join every firing of a batch's features, and every token of the corpus, with the windows
(`benchmarks/store.py`). A test compares the two.
"""

import numpy as np
import pyarrow as pa

from pipeline.compiled.inputs import Inputs
from pipeline.firings.buckets import ranges, read_features


def rendered_windows(inputs: Inputs) -> pa.Table:
    """The rows of `sql/compiled/rendered_windows.sql`."""
    corpus, taken = inputs.corpus, inputs.table("taken_slots").sort_by("feature")
    names = ("feature", "context_id", "start", "n_tokens")
    feature, context_id, start, n_tokens = (taken[name].to_numpy().astype(np.int64) for name in names)
    first = context_id * corpus.context_length + start
    ends = np.cumsum(n_tokens)
    activations = np.zeros(n_tokens.sum(), np.float32)
    n_indices = len(corpus.tokens)
    for bucket in read_features(inputs.lake, inputs.sae, np.unique(feature)):
        low, high = np.searchsorted(feature, [bucket.features[0], bucket.features[-1] + 1])
        # Feature and token index in one ascending number, so that each window's firings are a range of rows.
        at = np.repeat(bucket.features * n_indices, np.diff(bucket.starts)) + bucket.token_index
        begin = feature[low:high] * n_indices + first[low:high]
        rows = np.searchsorted(at, [begin, begin + n_tokens[low:high]])
        n_rows = rows[1] - rows[0]
        fired = ranges(rows[0], n_rows)
        offset = np.repeat((ends - n_tokens - first)[low:high], n_rows)
        activations[offset + bucket.token_index[fired]] = bucket.activation[fired]
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    token_ids = corpus.tokens["token_id"][ranges(first, n_tokens)]
    lists = {"token_ids": token_ids, "activations": activations}
    columns = {name: pa.ListArray.from_arrays(offsets, values) for name, values in lists.items()}
    return pa.table({"feature": feature, "context_id": context_id, "start": start, **columns})
