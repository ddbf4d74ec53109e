"""The texts of the built-in default, copied into the lake, since installing a package changes them."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import Config, PythonTexts
from pipeline.lake import Lake
from pipeline.sources.contents import digest_of
from pipeline.tables.versions import SourceHashes
from pipeline.texts.readers import read_texts
from pipeline.texts.text import Text

_TEXTS = pa.schema([("source", pa.string()), ("unit", pa.string()), ("text", pa.string())])


def copy_python_texts(lake: Lake, source: PythonTexts) -> str:
    """Copy the texts into the lake; their digest, which names the copy."""
    texts = list(read_texts(source))  # some 3 MB on any installation
    table = pa.table([[getattr(text, name) for text in texts] for name in _TEXTS.names], schema=_TEXTS)
    digest = digest_of(text.text for text in texts)
    with lake.writing(copied_path(lake.config, digest)) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    return digest


def copied_texts(config: Config, digest: str) -> Iterator[Text]:
    """The texts of the copy with that digest."""
    for batch in pq.ParquetFile(copied_path(config, digest)).iter_batches(256):
        for row in batch.to_pylist():
            yield Text(**row)


def copied_path(config: Config, digest: str) -> Path:
    """The path of the copy with that digest, whether or not it exists."""
    path = config.lake_folder / "sources" / f"{digest[:12]}.parquet"
    return Lake(config, SourceHashes()).fetched(path)
