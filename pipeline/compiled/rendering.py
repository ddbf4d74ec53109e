"""Windows with their tokens and activations: the rows of `sql/compiled/rendered_windows.sql` from arrays.

DuckDB would join every firing of a batch's features, and every token of the corpus, with the windows
(`benchmarks/store.py`). A test compares the two.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.compiled.inputs import Inputs
from pipeline.compiled.segments import Ints, compiled
from pipeline.firings.buckets import ranges, read_features


def rendered_windows(inputs: Inputs) -> pa.Table:
    """The rows of `sql/compiled/rendered_windows.sql`."""
    places, taken = inputs.places, inputs.table("taken_slots").sort_by("feature")
    names = ("feature", "context_id", "start", "n_tokens")
    feature, context_id, start, n_tokens = (taken[name].to_numpy().astype(np.int64) for name in names)
    first = context_id * places.context_length + start
    ends = np.cumsum(n_tokens)
    activations = np.zeros(n_tokens.sum(), np.float32)
    for bucket in read_features(inputs.lake, inputs.sae, np.unique(feature)):
        low, high = np.searchsorted(feature, [bucket.features[0], bucket.features[-1] + 1])
        of = np.searchsorted(bucket.features, feature[low:high])
        rows = bucket.starts[of], bucket.starts[of + 1]
        windows = first[low:high], n_tokens[low:high], (ends - n_tokens)[low:high]
        _render(*rows, *windows, bucket.token_index, bucket.activation, activations)
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    token_ids = places.at["token_id"][ranges(first, n_tokens)]
    lists = {"token_ids": token_ids, "activations": activations}
    columns = {name: pa.ListArray.from_arrays(offsets, values) for name, values in lists.items()}
    return pa.table({"feature": feature, "context_id": context_id, "start": start, **columns})


@compiled
def _render(
    begins: Ints,
    ends: Ints,
    first: Ints,
    n_tokens: Ints,
    offset: Ints,
    token_index: Ints,
    activation: npt.NDArray[np.float32],
    activations: npt.NDArray[np.float32],
) -> None:
    """Put what fires in each window at the window's places of `activations`.

    begins, ends [n_windows]: rows of the window's feature, by token_index; first, n_tokens: the window's places in
    the corpus; offset: its places in `activations`.
    """
    for window in range(len(first)):
        rows = token_index[begins[window] : ends[window]]
        row = begins[window] + np.searchsorted(rows, first[window])
        while row < ends[window] and token_index[row] < first[window] + n_tokens[window]:
            activations[offset[window] + token_index[row] - first[window]] = activation[row]
            row += 1
