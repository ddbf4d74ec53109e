"""`explaining.imported`: the file with the explanations."""

import hashlib
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """Explanations from elsewhere: Neuronpedia's, delphi's, a circuit's annotations, or a table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str | None = Field(
        None,
        description="CSV, JSON, JSON lines or Parquet file with columns (sae or hookpoint, feature, explanation), "
        "or Neuronpedia's; or a folder of these or of delphi's texts. It may refer to SAEs by saes.aliases",
    )

    @property
    def content(self) -> str | None:
        """SHA-256 over its files and their names, which may give SAE and feature; None without a path.

        It is part of the version of its rows.
        """
        if self.path is None:
            return None
        path = Path(self.path).expanduser()
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        digest = hashlib.sha256()
        for file in files:
            if file.is_file():
                stat = file.stat()
                digest.update(f"{file.relative_to(path).as_posix()}\0".encode())
                digest.update(_digest(file, stat.st_size, stat.st_mtime_ns))
        return digest.hexdigest()


@cache
def _digest(file: Path, size: int, mtime_ns: int) -> bytes:
    """SHA-256 of a file; cached by size and modification time, as every version needs it."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()
