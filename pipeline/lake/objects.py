"""A lake in an object store: what is published there, and this machine's local copy of parts of it.

An object cannot be renamed or appended to (`store.py`). So nothing is ever overwritten:

    data/<path>/<version>/<file>                        the files of one version of a file or folder of the lake
    versions/<path>/<version>.json                      put after them, with their sizes; publishes them
    lines/<path>@<journal>-<first byte>.<ending>        lines of a journal, after the earlier ones (`journals.py`)
    leases/<partition>/<number>                         which machine makes a partition (`leases.py`)

A version's name begins with its number, and the last one counts. A kill leaves only data that no version names.
The pipeline reads and writes the lake's local folder. A file is put into the store before it is renamed into place
locally, and what others have published is fetched before it is read. The folder `.fetched/` records the version of
each local file.
"""

import contextlib
import json
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

from pipeline.config import Config
from pipeline.config.machine import CACHE_VARIABLE, endpoint_of
from pipeline.errors import LakeError
from pipeline.lake.journals import Journals
from pipeline.lake.publishing import TEMPORARY_FOLDER, whole_path
from pipeline.lake.store import Store

_NOTES = ".fetched"
_LOOK_SECONDS = 2.0
"""How long a listing is considered current."""

_STALE_SECONDS = 86_400
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


class Objects(Store):
    """An experiment's lake at a URL, and its local folder; thread-safe."""

    def __init__(self, url: str, folder: Path) -> None:
        super().__init__(url)
        self.folder = folder
        self.journals = Journals(self, folder)
        self._listed: dict[str, tuple[float, Mapping[str, str]]] = {}
        self._listing = threading.Lock()
        """Held while listing, so that what is published meanwhile is added, not overwritten."""

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
        keys = sorted(self.list_keys(f"versions/{below}"))
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
        self.put_files(paths, [f"data/{name}/{version}/{file}" for file in files])
        self.put(f"versions/{name}/{version}.json", manifest.encode())
        yield
        self._note(name, version)
        with self._listing:
            if unit := self._listed.get(_unit(name)):
                self._listed[_unit(name)] = unit[0], {**unit[1], name: version}

    def withdraw(self, path: Path) -> None:
        """Have nothing published at a path; what other machines have fetched of it stays with them."""
        self.remove(self.list_keys(f"versions/{self._name(path)}"))
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
        self.get_files([f"data/{name}/{version}/{file}" for file in sizes], paths)
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

    def clean(self, is_current: Callable[[Path], bool]) -> list[Path]:
        """Remove data that for a day was not named by a version, or not by the last one of a current path.

        Returns the keys.
        """
        # In this order, no version names removed data.
        keys = [*self.list_keys("versions"), *self.list_keys("data")]
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

    def _name(self, path: Path) -> str:
        """The path in the lake; empty for the lake itself."""
        name = path.relative_to(self.folder).as_posix()
        return "" if name == "." else name


def _unit(name: str) -> str:
    """The prefix listed to find a path: a version of a table."""
    return "/".join(name.split("/")[:2])


def _published(version: str) -> float:
    """When a version was published, in seconds since 1970."""
    return int(version.split("-")[1]) / 1000
