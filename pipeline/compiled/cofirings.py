"""Which features fire on the same tokens: the rows of `sql/compiled/feature_cofirings.sql`, from arrays.

Each pair of firings on a token is counted, so the work grows with the square of the firings per token, and a join
would hold every pair. Here only the counted firings are in memory (8 bytes each), and the counts of one feature at
a time. `cofiring_tokens` says which tokens are counted. A test compares the two.
"""

import numpy as np
import pyarrow as pa

from pipeline.compiled.inputs import Inputs, named
from pipeline.compiling import Int32s, Ints, compiled
from pipeline.firings.buckets import mapped, read_bucket
from pipeline.firings.layout import n_buckets_of
from pipeline.lake import Lake
from pipeline.progress import progress

N_MOST = 20
"""Maximum co-firing features listed per feature."""


def feature_cofirings(inputs: Inputs) -> pa.Table:
    """`sql/compiled/feature_cofirings.sql`."""
    token_index = inputs.table("cofiring_tokens")["token_index"].to_numpy()
    starts, token = counted_firings(inputs.lake, inputs.sae, token_index)
    n_found, other, n_both = most_cofiring(starts, token, *list_by_token(starts, token, len(token_index)), N_MOST)
    feature, place = np.nonzero(np.arange(N_MOST) < n_found[:, None])
    n_own, n_other = np.diff(starts)[feature], np.diff(starts)[other[feature, place]]
    return pa.table(
        {
            "sae": named(inputs.sae, len(feature)),
            "feature": feature.astype(np.int32),
            "other": other[feature, place],
            "rank": (place + 1).astype(np.int32),
            "n_both": n_both[feature, place],
            "n_expected": n_own * n_other.astype(np.float64) / len(token_index),
            "n_feature": n_own,
            "n_other": n_other,
            "n_tokens": np.full(len(feature), len(token_index)),
        }
    )


def counted_firings(lake: Lake, sae: str, token_index: Ints) -> tuple[Ints, Int32s]:
    """The firings on some tokens: the first of each feature, [n_features + 1], and the number of each one's token.

    token_index: [n_tokens], ascending. The firings of one bucket are in memory at a time, and those counted.
    """
    n_features = lake.config.sae(sae).n_features
    # From 1; 0 for a token that is not counted; as long as the corpus, so in a file.
    number_of = mapped(lake, int(token_index.max(initial=-1)) + 1, np.dtype(np.int32))
    number_of[token_index] = np.arange(1, len(token_index) + 1)
    counts, tokens = [], []
    buckets = range(n_buckets_of(n_features))
    with progress(len(buckets), f"feature_cofirings of {sae}", "buckets") as bar:
        for bucket in buckets:
            firings = read_bucket(lake, sae, bucket)
            within = firings.token_index < len(number_of)
            number = np.where(within, number_of[np.where(within, firings.token_index, 0)], 0)
            is_counted = number > 0
            counts.append(np.diff(np.concatenate([[0], np.cumsum(is_counted)])[firings.starts]))
            tokens.append(number[is_counted] - 1)
            bar.update(1)
    starts = np.concatenate([[0], np.cumsum(np.concatenate(counts)[:n_features])])
    return starts, np.concatenate(tokens)


@compiled
def list_by_token(starts: Ints, token: Int32s, n_tokens: int) -> tuple[Ints, Int32s]:
    """The firings of each token: the first place of each, [n_tokens + 1], and their features in ascending order.

    starts: [n_features + 1], the first firing of each feature; token: [n], the token of each.
    """
    token_starts = np.zeros(n_tokens + 1, np.int64)
    for each in token:
        token_starts[each + 1] += 1
    for number in range(n_tokens):
        token_starts[number + 1] += token_starts[number]
    free = token_starts[:-1].copy()
    features = np.empty(len(token), np.int32)
    for feature in range(len(starts) - 1):
        for i in range(starts[feature], starts[feature + 1]):
            features[free[token[i]]] = feature
            free[token[i]] += 1
    return token_starts, features


@compiled
def most_cofiring(
    starts: Ints, token: Int32s, token_starts: Ints, features: Int32s, n_most: int
) -> tuple[Ints, Int32s, Ints]:
    """For each feature those that fire with it most above chance, [n_features, n_most], and on how many tokens.

    Above chance is n_both - n_own n_other / n_tokens, and more than 0; equal ones go by the smaller feature. The
    first of the three says how many a feature has. starts and token as in `list_by_token`, the others its result.
    """
    n_features, n_tokens = len(starts) - 1, len(token_starts) - 1
    n_found = np.zeros(n_features, np.int64)
    other = np.empty((n_features, n_most), np.int32)
    n_both = np.empty((n_features, n_most), np.int64)
    above = np.empty(n_most, np.float64)
    count = np.zeros(n_features, np.int32)  # small, so that it stays in the cache
    met = np.empty(n_features, np.int32)
    for own in range(n_features):
        # 1. Count the features on the tokens of this one.
        n_met = 0
        for number in token[starts[own] : starts[own + 1]]:
            for each in features[token_starts[number] : token_starts[number + 1]]:
                if count[each] == 0:
                    met[n_met] = each
                    n_met += 1
                count[each] += 1
        # 2. Keep the most, in order; what is equal comes after, unless its number is smaller.
        n_own, n_kept = starts[own + 1] - starts[own], 0
        for each in met[:n_met]:
            n_other = starts[each + 1] - starts[each]
            value = count[each] - float(n_own) * float(n_other) / n_tokens
            if each != own and value > 0:
                at = n_kept
                while at > 0 and (value > above[at - 1] or (value == above[at - 1] and each < other[own, at - 1])):
                    at -= 1
                if at < n_most:
                    n_kept = min(n_kept + 1, n_most)
                    for below in range(n_kept - 1, at, -1):
                        above[below] = above[below - 1]
                        other[own, below] = other[own, below - 1]
                        n_both[own, below] = n_both[own, below - 1]
                    above[at], other[own, at], n_both[own, at] = value, each, count[each]
        n_found[own] = n_kept
        # 3. Forget the counts.
        for each in met[:n_met]:
            count[each] = 0
    return n_found, other, n_both
