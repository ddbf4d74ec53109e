"""Writing Parquet files batch by batch."""

from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

_ROWS_PER_GROUP = 122_880


class RowGroupWriter:
    """A Parquet writer that gathers small batches into row groups of a useful size."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._writer = pq.ParquetWriter(path, schema, compression="zstd", compression_level=1)
        self._pending: list[pa.RecordBatch] = []
        self._n_pending = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._flush()
        self._writer.close()

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows; they are written in row groups."""
        self._pending.append(batch)
        self._n_pending += batch.num_rows
        if self._n_pending >= _ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._n_pending:
            self._writer.write_table(pa.Table.from_batches(self._pending, self._schema))
        self._pending, self._n_pending = [], 0
