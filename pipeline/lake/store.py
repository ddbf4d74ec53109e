"""An object store: an object is put whole or not at all, but cannot be renamed or appended to."""

import contextlib
import errno
import glob
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import LakeError


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


class Store:
    """The objects below a URL, by their keys; thread-safe. Methods raise LakeError if the store fails."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.filesystem, self._base = open_filesystem(url)

    def list_keys(self, below: str) -> dict[str, int]:
        """The keys of all objects below a path, and their sizes."""
        with self._asking():
            found = self.filesystem.find(self._key(below).rstrip("/"), detail=True)
        return {key.removeprefix(f"{self._base}/"): info["size"] for key, info in found.items()}

    def pattern_of(self, key: str) -> str:
        """The URL of an object, or of those that match a pattern, as a pattern: only the key's stars are wild."""
        return f"{glob.escape(str(self.filesystem.unstrip_protocol(self._base)))}/{key}"

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

    def put_files(self, paths: Sequence[Path], keys: Sequence[str]) -> None:
        """Put local files, several at a time."""
        with self._asking():
            self.filesystem.put([str(path) for path in paths], list(map(self._key, keys)))

    def get_files(self, keys: Sequence[str], paths: Sequence[Path]) -> None:
        """Copy objects to local files, several at a time."""
        with self._asking():
            self.filesystem.get(list(map(self._key, keys)), [str(path) for path in paths])

    def _key(self, name: str) -> str:
        return f"{self._base}/{name}"

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """Turn the errors of any filesystem into a LakeError."""
        try:
            yield
        except Exception as error:  # each filesystem has its own exceptions
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise
            raise LakeError(f"lake '{self.url}' {_what_is_wrong(error)}") from None


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
