"""The machine: where lakes are kept, the device, and how much is done at once."""

import hashlib
import os
import re
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from pipeline.config.section import Positive, Section

LAKE_VARIABLE = "LATENTLAKE_LAKE"
CACHE_VARIABLE = "LATENTLAKE_LAKE_CACHE"
LLM_VARIABLE = "LATENTLAKE_LLM"
DEVICE_VARIABLE = "LATENTLAKE_DEVICE"


class MachineConfig(Section):
    """Paths, device, memory; in no stage hash. `LATENTLAKE_LAKE`, `…_CACHE`, `LATENTLAKE_DEVICE` override it."""

    lake: str = Field(
        "lake",
        min_length=1,
        description="Folder of all lakes, with a subfolder per experiment, and `models/` for tensors converted "
        "from GGUF files to float32 at first use. Or the URL of a folder in an object store, `s3://BUCKET/PATH` "
        "([how](object-storage.md))",
    )
    lake_cache: Path | None = Field(
        None,
        description="Folder for this machine's copy of a lake at a URL, and for `models/`; by default named after "
        "the URL, in the user's cache",
    )
    device: str = Field(
        "auto", description="`auto` (cuda, else mps, which has not been tested, else cpu), `cpu`, `cuda:1`, …"
    )
    batch_tokens: Positive | None = Field(
        None, description="Tokens per forward pass; by default 2,048 on a CPU and 16,384 on a GPU"
    )
    flush_firings: Positive = Field(
        2_097_152, description="Firings of an SAE that are sorted and written together, as a file of a shard"
    )
    memory_limit: str = Field(
        "4GB",
        pattern=r"(?i)^\d+(\.\d+)? ?([KMGT]i?B|%)$",
        description="DuckDB's memory limit (`500MB`, `4GB`, `80%`); larger queries spill to disk",
    )

    @model_validator(mode="after")
    def _lake_is_written_out(self) -> Self:
        for location in filter(None, (self.lake, str(self.lake_cache or ""))):
            if "$" in location:
                raise ValueError(
                    f"'{location}' contains a '$', but environment variables are not expanded; write out the "
                    f"path, start it with ~, or set {LAKE_VARIABLE}"
                )
        return self

    @property
    def lakes_url(self) -> str | None:
        """The URL that all lakes are below; None for a folder. The environment overrides the config."""
        location = str(os.environ.get(LAKE_VARIABLE) or self.lake)
        return location.rstrip("/") if "://" in location else None

    @property
    def lakes_folder(self) -> Path:
        """The folder of all lakes on this machine, absolute. The environment overrides the config."""
        if (url := self.lakes_url) is None:
            return Path(os.environ.get(LAKE_VARIABLE) or self.lake).expanduser().absolute()
        if given := os.environ.get(CACHE_VARIABLE) or self.lake_cache:
            return Path(given).expanduser().absolute()
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        # Some URLs have the same readable part, and a URL means another store at another endpoint.
        suffix = hashlib.sha256(f"{url} {endpoint_of(url)}".encode()).hexdigest()[:8]
        return home / "latentlake" / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', url)}-{suffix}"


def endpoint_of(url: str) -> str:
    """The S3 server that the environment sets for a URL; empty if none is set, or the URL is not S3."""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL") if url.startswith(("s3:", "s3a:")) else ()
    return next(filter(None, map(os.environ.get, names)), "")
