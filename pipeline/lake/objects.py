"""A lake in an object store: what is published there, and this machine's local copy of parts of it.

An object is put whole or not at all, but cannot be renamed or appended to. So nothing is ever overwritten:

    data/<path>/<version>/<file>                        the files of one version of a file or folder of the lake
    versions/<path>/<version>.json                      put after them, with their sizes; publishes them
    lines/<path>@<journal>-<first byte>.<ending>        lines of a journal, sealed after the earlier ones
    leases/<partition>/<number>                         which machine makes a partition (`leases.py`)

A version's name begins with its number, and the last one counts. A kill leaves only data that no version names.
The pipeline reads and writes the lake's local folder. A file is put into the store before it is renamed into place
locally, and what others have published is fetched before it is read. The folder `.fetched/` records the version of
each local file.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.config import Config
from pipeline.config.machine import CACHE_VARIABLE, endpoint_of
from pipeline.errors import LakeError
from pipeline.lake.publishing import TEMPORARY_FOLDER, whole_path
from pipeline.tables import TABLES

_NOTES = ".fetched"
_LOOK_SECONDS = 2.0
"""How long a listing is considered current."""

_STALE_SECONDS = 86_400
_LINES = sorted({table.lines_folder for table in TABLES.values() if table.lines_folder})
_VERSION = re.compile(r"(.+)/(\d{6,}-\d+-[0-9a-f]{8})(?:/.+|\.json)")
"""The path in the lake and the version in a key of `versions/` or `data/`."""


def open_objects(config: Config) -> "Objects | None":
    """The object store of an experiment's lake; None if the lake is just a folder.

    Raises LakeError if the package for this kind of URL is not installed, or the local folder is another lake's.
    """
    return None if config.lake_url is None else _open(config.lake_url, config.lake_folder)


@cache
def _open(url: str, folder: Path) -> "Objects":
    _claim(folder, url)
    return Objects(url, folder)


def _claim(folder: Path, url: str) -> None:
    """Record in a local folder which lake it belongs to. Raises LakeError if it belongs to another."""
    path, own = folder / ".url", " at ".join(filter(None, (url, endpoint_of(url))))
    if not path.exists():
        with whole_path(folder, path) as temporary:
            temporary.write_text(own, encoding="utf-8")
    elif (other := path.read_text(encoding="utf-8")) != own:
        raise LakeError(
            f"'{folder}' is this machine's copy of lake '{other}', not of '{own}'; set {CACHE_VARIABLE} "
            "(or machine.lake_cache) to another folder for this lake"
        )


def open_filesystem(url: str) -> tuple[Any, str]:
    """The fsspec filesystem of a URL, and the path in it. Raises LakeError if its package is not installed."""
    import fsspec

    options = {"auto_mkdir": True} if url.startswith("file:") else {}
    try:
        filesystem, path = fsspec.url_to_fs(url, use_listings_cache=False, **options)
    except ImportError as error:
        hint = "install latentlake with its extra 's3'" if url.startswith("s3:") else str(error)
        raise LakeError(f"lake '{url}' needs a package that is not installed: {hint}") from None
    except ValueError as error:
        raise LakeError(f"lake '{url}' has a URL scheme that fsspec does not know ({error})") from None
    return filesystem, path.rstrip("/")


class Objects:
    """An experiment's lake at a URL, and its local folder; thread-safe."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.filesystem, self._base = open_filesystem(url)
        self._listed: dict[str, tuple[float, Mapping[str, str]]] = {}
        self._listing = threading.Lock()
        """Held while listing, so that what is published meanwhile is added, not overwritten."""
        self._looked: dict[Path, float] = {}

    # Files and folders --------------------------------------------------------------------------------

    def has(self, path: Path) -> bool:
        """Whether a file or folder of the lake is published."""
        name = self._name(path)
        return name in self._versions(_unit(name))

    def published(self, below: Path | None = None) -> Mapping[str, str]:
        """The last version of everything published at or below a path, by its path in the lake."""
        name = "" if below is None else self._name(below)
        found = self._versions(_unit(name))
        if name in found:
            return {name: found[name]}
        return {each: found[each] for each in found if each.startswith(f"{name}/")} if name else found

    def look_again(self) -> None:
        """Discard listings, as others may have published something that must be seen."""
        with self._listing:
            self._listed.clear()

    def _versions(self, below: str) -> Mapping[str, str]:
        with self._listing:
            until, found = self._listed.get(below, (0.0, {}))
            if time.monotonic() > until:
                found = self._list_versions(below)
                self._listed[below] = time.monotonic() + _LOOK_SECONDS, found
            return found

    def _list_versions(self, below: str) -> dict[str, str]:
        keys = sorted(self._list(f"versions/{below}"))
        matches = [match for key in keys if (match := _VERSION.fullmatch(key.removeprefix("versions/")))]
        return {match[1]: match[2] for match in matches}

    @contextlib.contextmanager
    def publishing(self, target: Path, temporary: Path) -> Iterator[None]:
        """Publish `temporary`, which the body is about to rename to `target`.

        If two machines publish the same path at once, one of the two versions counts, as a whole. Raises LakeError
        if the store rejects it; then nothing is published.
        """
        name = self._name(target)
        if name.startswith(f"{TEMPORARY_FOLDER}/"):
            yield
            return
        is_folder = temporary.is_dir()
        paths = sorted(path for path in temporary.rglob("*") if path.is_file()) if is_folder else [temporary]
        files = [path.relative_to(temporary).as_posix() if is_folder else target.name for path in paths]
        last = self._list_versions(name).get(name, "0")
        version = f"{int(last.partition('-')[0]) + 1:06d}-{int(time.time() * 1000)}-{secrets.token_hex(4)}"
        sizes = {file: path.stat().st_size for file, path in zip(files, paths, strict=True)}
        manifest = json.dumps({"is_folder": is_folder, "files": sizes})
        with self._asking():
            keys = [self._key(f"data/{name}/{version}/{file}") for file in files]
            self.filesystem.put([str(path) for path in paths], keys)
        self.put(f"versions/{name}/{version}.json", manifest.encode())
        yield
        self._note(name, version)
        with self._listing:
            if unit := self._listed.get(_unit(name)):
                self._listed[_unit(name)] = unit[0], {**unit[1], name: version}

    def withdraw(self, path: Path) -> None:
        """Have nothing published at a path; what other machines have fetched of it stays with them."""
        self.remove(self._list(f"versions/{self._name(path)}"))
        self.look_again()

    def fetch(self, path: Path) -> None:
        """Fetch the last version of everything published at or below a path into the local folder.

        Raises LakeError if it cannot be fetched.
        """
        for name, version in self.published(path).items():
            local = self.folder / name
            if self._noted(name) != version or not local.exists():
                with whole_path(self.folder, local) as temporary:
                    self.copy_to(name, version, temporary)
                self._note(name, version)

    def copy_to(self, name: str, version: str, target: Path) -> None:
        """Copy a version of a path to a local file or folder. Raises LakeError if it cannot be fetched."""
        if not (found := self.get(f"versions/{name}/{version}.json")):
            raise LakeError(f"'{name}' of lake '{self.url}' was replaced while it was being read; run again")
        manifest = json.loads(found)
        sizes = manifest["files"]
        paths = [target / file if manifest["is_folder"] else target for file in sizes]
        for folder in {path.parent for path in paths} | ({target} if manifest["is_folder"] else set()):
            folder.mkdir(parents=True, exist_ok=True)
        with self._asking():
            keys = [self._key(f"data/{name}/{version}/{file}") for file in sizes]
            self.filesystem.get(keys, [str(path) for path in paths])
        published = _published(version)
        for path, size in zip(paths, sizes.values(), strict=True):
            if path.stat().st_size != size:
                raise LakeError(f"'{name}' of lake '{self.url}' was only partly downloaded; run again to continue")
            os.utime(path, (published, published))

    def _noted(self, name: str) -> str | None:
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / _NOTES / f"{name}.txt").read_text(encoding="utf-8")
        return None

    def _note(self, name: str, version: str) -> None:
        with whole_path(self.folder, self.folder / _NOTES / f"{name}.txt") as temporary:
            temporary.write_text(version, encoding="utf-8")

    # Lines --------------------------------------------------------------------------------------------

    def seal(self, path: Path, journal: BinaryIO) -> None:
        """Put the complete lines of a local journal that the store lacks; its writer holds a lock on it.

        Raises LakeError if the store rejects them, or if the journal has been truncated.
        """
        self._seal(path, journal, self._list(f"lines/{self._name(path.parent)}"))

    def seal_left_over(self) -> None:
        """Put the lines that a kill left in local journals, except journals that a process is writing."""
        patterns = ("*.jsonl", "*.batches")
        journals = [path for folder in _LINES for each in patterns for path in (self.folder / folder).rglob(each)]
        sealed = self._list("lines")
        for path in journals:
            if "@" not in path.name:
                # A ledger's lock holds for the provider's batches noted beside it.
                locked = path.with_suffix(".jsonl")
                with contextlib.suppress(BlockingIOError), locked.open("ab") as lock, path.open("rb") as journal:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self._seal(path, journal, sealed)

    def _seal(self, path: Path, journal: BinaryIO, sealed: Mapping[str, int]) -> None:
        if (mark := _mark_of(journal)) is None:
            return
        stem = f"lines/{self._name(path.with_suffix(''))}@{mark}-"
        end = sum(size for key, size in sealed.items() if key.startswith(stem) and key.endswith(path.suffix))
        if journal.seek(0, os.SEEK_END) < end:
            raise LakeError(f"'{path}' is shorter than its copy in lake '{self.url}'; move it elsewhere")
        journal.seek(end)
        data = journal.read()
        if data := data[: data.rfind(b"\n") + 1]:
            self.put(f"{stem}{end:012d}{path.suffix}", data)

    def fetch_lines(self, below: Path, held_seconds: float = 0.0) -> None:
        """Fetch the lines that others have sealed below a folder, unless done in the last `held_seconds`."""
        if time.monotonic() - self._looked.get(below, -math.inf) < held_seconds:
            return
        marks: dict[Path, str | None] = {}
        for key in self._list(f"lines/{self._name(below)}"):
            local = self.folder / key.removeprefix("lines/")
            stem, _, mark = local.name.partition("@")
            own = local.with_name(f"{stem}{local.suffix}")
            if own not in marks:
                marks[own] = _mark_of_file(own)
            if marks[own] != mark.partition("-")[0] and not local.exists():
                with whole_path(self.folder, local) as temporary, self._asking():
                    self.filesystem.get_file(self._key(key), str(temporary))
        self._looked[below] = time.monotonic()

    # Objects ------------------------------------------------------------------------------------------

    def list_keys(self, below: str) -> Collection[str]:
        """The keys of all objects below a path."""
        return self._list(below)

    def url_of(self, key: str) -> str:
        """The URL of an object."""
        return str(self.filesystem.unstrip_protocol(self._key(key)))

    def get(self, key: str) -> bytes:
        """An object's content; empty if it is gone."""
        with self._asking(), contextlib.suppress(FileNotFoundError):
            return bytes(self.filesystem.cat_file(self._key(key)))
        return b""

    def put(self, key: str, content: bytes) -> None:
        """Put an object, replacing any earlier one."""
        with self._asking():
            self.filesystem.pipe_file(self._key(key), content)

    def put_new(self, key: str, content: bytes) -> bool:
        """Put an object unless it exists; returns whether it was put, as decided by the store."""
        with self._asking():
            try:
                self.filesystem.pipe_file(self._key(key), content, mode="create")
            except FileExistsError:
                return False
            except OSError as error:
                code = getattr(error.__cause__, "response", {}).get("Error", {}).get("Code")  # of S3
                if code not in {"PreconditionFailed", "ConditionalRequestConflict"}:
                    raise
                return False
        return True

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects; they may be gone."""
        with self._asking():
            for key in keys:
                with contextlib.suppress(FileNotFoundError):
                    self.filesystem.rm_file(self._key(key))

    # Old versions -------------------------------------------------------------------------------------

    def clean(self, is_current: Callable[[Path], bool]) -> list[Path]:
        """Remove data that for a day was not named by a version, or not by the last one of a current path.

        Returns the keys.
        """
        keys = [*self._list("versions"), *self._list("data")]  # in this order, no version names removed data
        found = {key: match.groups() for key in keys if (match := _VERSION.fullmatch(key.partition("/")[2]))}
        versions: dict[str, list[str]] = {}
        for key, (name, version) in found.items():
            if key.startswith("versions/"):
                versions.setdefault(name, []).append(version)
        old = []
        for key, (name, version) in found.items():
            later = [each for each in versions.get(name, ()) if each > version]
            is_last = not later and version in versions.get(name, ())
            stale_since = _published(min(later, default=version))
            if stale_since < time.time() - _STALE_SECONDS and not (is_last and is_current(self.folder / name)):
                old.append(key)
        self.remove(old)
        self.look_again()
        return [Path(key) for key in old]

    # The store ----------------------------------------------------------------------------------------

    def _name(self, path: Path) -> str:
        name = path.relative_to(self.folder).as_posix()
        return "" if name == "." else name

    def _key(self, name: str) -> str:
        return f"{self._base}/{name}"

    def _list(self, below: str) -> dict[str, int]:
        """The keys below a path, and their sizes."""
        with self._asking():
            found = self.filesystem.find(self._key(below).rstrip("/"), detail=True)
        return {key.removeprefix(f"{self._base}/"): info["size"] for key, info in found.items()}

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """Turn the errors of any filesystem into a LakeError."""
        try:
            yield
        except Exception as error:  # each filesystem has its own exceptions
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise
            raise LakeError(f"lake '{self.url}' {_what_is_wrong(error)}") from None


def _unit(name: str) -> str:
    """The prefix listed to find a path: a version of a table."""
    return "/".join(name.split("/")[:2])


def _published(version: str) -> float:
    """When a version was published, in seconds since 1970."""
    return int(version.split("-")[1]) / 1000


def _mark_of(journal: BinaryIO) -> str | None:
    """Identifies a journal among others of the same name: a hash of its first line; None while it is empty."""
    journal.seek(0)
    line = b""
    while b"\n" not in line:
        if not (some := journal.read(1 << 16)):
            return None
        line = (line + some).lstrip(b"\n")  # blank lines are in all
    return hashlib.sha256(line.partition(b"\n")[0]).hexdigest()[:16]


def _mark_of_file(path: Path) -> str | None:
    if not path.exists():
        return None
    with path.open("rb") as journal:
        return _mark_of(journal)


def _what_is_wrong(error: Exception) -> str:
    words = f"({type(error).__name__}: {' '.join(str(error).split())})"
    match type(error).__name__:
        case "NoCredentialsError" | "PartialCredentialsError":
            return "needs keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        case "PermissionError":
            return f"refuses these keys {words}"
        case "FileNotFoundError" if "bucket" in words.lower():
            return f"is in a bucket that does not exist; create it first {words}"
        case "EndpointConnectionError" | "ConnectTimeoutError" | "ConnectionRefusedError":
            return f"does not answer; is AWS_ENDPOINT_URL right? {words}"
        case _:
            return f"cannot be reached, or the request failed; run again to continue {words}"
