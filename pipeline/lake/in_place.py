"""A lake in an object store, read without copying it: a snapshot of the last version of everything.

Versions are never overwritten, and replaced ones are kept for a day; until then a reader sees the same rows, even
if others publish.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from pipeline.lake.objects import Objects
from pipeline.lake.paths import SCHEMA_FILE
from pipeline.lake.selects import quoted

_FILES = re.compile(r"(, )?'([^']*\.(?:parquet|jsonl))'")
"""A path or a glob in a view's text, and the comma before it."""


class InPlace:
    """A snapshot of a lake at a URL. Raises LakeError if it cannot be reached."""

    def __init__(self, url: str) -> None:
        with TemporaryDirectory() as folder:
            self._objects = Objects(url, Path(folder))
            self._versions = self._objects.published()
            self._lines = self._objects.list_keys("lines")

    def seen_by(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Let a connection read the URLs."""
        connection.register_filesystem(self._objects.filesystem)

    def catalog(self, name: str, folder: Path) -> Path:
        """The path of a copy of the catalog; there is no file if the lake has none yet."""
        if name in self._versions:
            self._objects.copy_to(name, self._versions[name], folder / name)
        return folder / name

    def view(self, text: str) -> str:
        """A view's text with URLs instead of the lake's paths."""

        def urls(found: re.Match[str]) -> str:
            patterns = [quoted(self._objects.pattern_of(key)) for key in self._keys(found[2])]
            return (found[1] or "") + ", ".join(patterns) if patterns else ""

        return _FILES.sub(urls, text)

    def _keys(self, path: str) -> Iterator[str]:
        """The objects of a file, or of all files matching a glob."""
        folder, _, files = path.rpartition("/**/")
        for name, version in self._versions.items():
            if name == path or (folder and name.startswith(f"{folder}/") and not name.endswith(SCHEMA_FILE)):
                is_file = name.endswith((".parquet", ".jsonl"))
                yield f"data/{name}/{version}/{name.rpartition('/')[2] if is_file else files}"
        if folder:
            own = (key for key in self._lines if key.startswith(f"lines/{folder}/"))
            yield from (key for key in own if key.endswith(".jsonl"))  # a ledger's, not the notes beside it
