"""The activation store: shards of firings, merged into one sorted file per bucket of features.

Merging reads one bucket's row groups from all shards, sorts them by (feature, token_index) and writes one file.
Only one bucket is in memory, and the footers of all shards' files: some 3 kB per file and bucket.
"""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pipeline.errors import CorpusError, LakeError
from pipeline.firings.files import Firings, in_order, write_firings
from pipeline.firings.layout import BUCKET_FEATURES, n_buckets_of
from pipeline.lake import Lake, Published
from pipeline.progress import progress
from pipeline.texts.delphi import splits_of

_ROWS_A_GROUP = 1 << 18


def write_activations(lake: Lake, sae: str) -> Published:
    """Merge an SAE's shards into one file per bucket, sorted by (feature, token_index).

    Raises:
        LakeError: A shard is missing, or a firing is there twice.
        CorpusError: The shards lack firings of the cache that they were read from.
    """
    lake.require("activation_shards", sae=sae)
    files = [
        (path, pq.read_metadata(path))
        for shard in range(lake.config.corpus.shards)
        for folder in lake.paths("activation_shards", sae=sae, shard=shard)
        for path in sorted(folder.glob("*.parquet"))
    ]
    target = lake.path("activations", sae=sae)
    lake.ensure_schema_file("activations", sae)
    n_buckets = n_buckets_of(lake.config.sae(sae).n_features)
    n_rows = 0
    with lake.writing(target) as folder, progress(n_buckets, f"activations of {sae}", "buckets") as bar:
        folder.mkdir()
        for bucket in range(n_buckets):
            first = bucket * BUCKET_FEATURES
            merged = in_order([_read_bucket(*file, bucket) for file in files], first, BUCKET_FEATURES)
            if _has_repeats(merged):
                raise LakeError(
                    f"bucket {bucket} of SAE '{sae}' holds a firing twice; rebuild its shards, or the cache that "
                    "they were read from"
                )
            edges = [*range(0, len(merged.feature) or 1, _ROWS_A_GROUP), len(merged.feature)]
            write_firings(folder / f"{bucket:05d}.parquet", "activations", sae, merged, edges)
            n_rows += len(merged.feature)
            bar.update(1)
        _check_cache_was_read(lake, sae, n_rows)
    size = sum(path.stat().st_size for path in target.glob("*.parquet"))
    figures: dict[str, float | int | str] = {"bytes": size, "bytes_per_row": round(size / max(n_rows, 1), 3)}
    return Published("activations", target, n_rows, figures)


def _check_cache_was_read(lake: Lake, sae: str, n_rows: int) -> None:
    """Each shard reads its rows of a cache where sorted rows would be; together they must have every firing.

    Raises CorpusError if they do not.
    """
    cache = lake.config.corpus.cache
    if cache is None:
        return
    folder = cache.folder / lake.config.sae(sae).hookpoint
    if n_rows != (n := sum(split.n_firings for split in splits_of(folder))):
        raise CorpusError(
            f"delphi's cache '{folder}' has {n:,} firings, of which {n_rows:,} were found: its locations are not "
            "sorted by row throughout; sort them by row"
        )


def _read_bucket(path: Path, metadata: pq.FileMetaData, bucket: int) -> Firings:
    """A bucket's firings in a shard's file. The file is opened for each bucket: too many are open otherwise."""
    with pq.ParquetFile(path, metadata=metadata) as file:
        rows = file.read_row_group(bucket, columns=["feature", "token_index", "activation"], use_threads=False)
    feature, token_index, activation = (column.to_numpy() for column in rows.columns)
    return Firings(feature, token_index.astype(np.int64), activation)


def count_rows(folder: Path) -> int:
    """The number of firings in the files of a folder."""
    return sum(pq.ParquetFile(path).metadata.num_rows for path in folder.glob("*.parquet"))


def _has_repeats(firings: Firings) -> bool:
    """Whether two consecutive rows are the same firing."""
    same = np.flatnonzero(firings.token_index[1:] == firings.token_index[:-1])
    return bool((firings.feature[same] == firings.feature[same + 1]).any())
