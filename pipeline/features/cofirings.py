"""Which features fire on the same tokens: for every feature the most frequent ones, with the count expected by
chance.

Features a and b, of n_a and n_b firings among N tokens, fire together on n_a n_b / N of them by chance. The rank
is by n_both minus that, which is n_a (P(b | a) - P(b)): by n_both alone, every list would begin with features that
fire everywhere. Each pair of firings on a token is counted, so the work grows with the square of the firings per
token; the tokens are the whole corpus, or a sample by hash with `heuristics.cofiring_firings` firings, which
bounds memory (8 bytes per firing) and time. Every row has the number of tokens counted.
"""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.compiled.cofirings import list_by_token, most_cofiring
from pipeline.compiling import Int32s, Ints
from pipeline.firings.buckets import mapped, read_bucket
from pipeline.firings.layout import bucket_path, n_buckets_of
from pipeline.lake import Lake, Published
from pipeline.progress import progress


def write_feature_cofirings(lake: Lake, sae: str) -> Published:
    """Write each feature's most frequent co-firing features. Figures: the tokens and firings counted."""
    lake.require("activations", "contexts", sae=sae)
    heuristics, n_features = lake.config.heuristics, lake.config.sae(sae).n_features
    n_firings = sum(_n_rows(lake, sae, bucket) for bucket in range(n_buckets_of(n_features)))
    share = min(1.0, heuristics.cofiring_firings / max(n_firings, 1))
    token_index = lake.query("cofiring_tokens", sae=sae, share=share)["token_index"].to_numpy()
    starts, token = _counted_firings(lake, sae, token_index)
    n_found, other, n_both = most_cofiring(
        starts, token, *list_by_token(starts, token, len(token_index)), heuristics.cofiring_features
    )
    feature, rank = np.nonzero(np.arange(heuristics.cofiring_features) < n_found[:, None])
    n_own, n_other = np.diff(starts)[feature], np.diff(starts)[other[feature, rank]]
    columns = {
        "sae": pa.array([sae] * len(feature)),
        "feature": feature.astype(np.int32),
        "other": other[feature, rank],
        "rank": (rank + 1).astype(np.int32),
        "n_both": n_both[feature, rank],
        "n_expected": n_own * n_other.astype(np.float64) / len(token_index),
        "n_feature": n_own,
        "n_other": n_other,
        "n_tokens": np.full(len(feature), len(token_index)),
    }
    published = lake.write("feature_cofirings", pa.table(columns), sae=sae)
    figures: dict[str, float | int | str] = {"tokens_counted": len(token_index), "firings_counted": len(token)}
    return replace(published, figures=figures)


def _n_rows(lake: Lake, sae: str, bucket: int) -> int:
    return int(pq.read_metadata(bucket_path(lake, sae, bucket)).num_rows)


def _counted_firings(lake: Lake, sae: str, token_index: Ints) -> tuple[Ints, Int32s]:
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
