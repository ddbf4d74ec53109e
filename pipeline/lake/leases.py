"""Leases in the object store, renewed while held, so that a partition is made on one machine at a time.

The leases of a name are numbered objects; the store decides who puts the next number first, and that one holds the
lease. It may be put if the last lease was released, belongs to this folder (its process is dead, as a lock on the
local disk is taken first), or has not been renewed for the duration of a lease, by the observer's clock. A process
that stalls for longer can lose its lease; then two processes make the same rows, and the later version counts.
"""

import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pipeline.errors import LakeError
from pipeline.lake.objects import Objects
from pipeline.lake.publishing import whole_path
from pipeline.progress import tell

_LEASE_SECONDS = 60.0
_LOOK_SECONDS = 2.0
_AGAIN_SECONDS = 0.1
_FREE = b"free"


@contextmanager
def leased(objects: Objects, name: str, *, waits: bool) -> Iterator[None]:
    """Hold the lease of a name. Raises LakeError if another machine keeps renewing it and `waits` is false."""
    key = _take(objects, name, waits=waits)
    objects.look_again()  # the previous holder may have published something
    ends = threading.Event()
    renewing = threading.Thread(target=_renew, args=(objects, key, ends), daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ends.set()
        renewing.join()
        with suppress(LakeError):  # if this fails, it expires
            objects.put(key, _FREE)


def _take(objects: Objects, name: str, *, waits: bool) -> str:
    """Put the next lease of a name as soon as that is allowed; returns its key."""
    folder, own = f"leases/{name.replace(' ', '/')}", _owner(objects)
    seen, since = b"", 0.0
    while True:
        keys = sorted(objects.list_keys(folder))
        held = objects.get(keys[-1]) if keys else _FREE
        if not held:  # another machine has taken the next one since the listing
            time.sleep(_AGAIN_SECONDS)
            continue
        is_over = held == seen and time.monotonic() - since > _LEASE_SECONDS
        if held == _FREE or json.loads(held)["owner"] == own or is_over:
            number = int(keys[-1].rpartition("/")[2]) + 1 if keys else 1
            is_put = objects.put_new(key := f"{folder}/{number:08d}", _lease(own))
            # That number may have been taken, released and removed since the listing: then there is a later one.
            if is_put and key == max(objects.list_keys(folder)):
                objects.remove(keys)
                return key
            if is_put:
                objects.remove([key])
            continue
        if not seen:
            tell(f"another machine started '{name}'; checking for up to a minute whether it still works on it")
        elif held != seen and not waits:
            raise LakeError(
                f"another machine is already making '{name}' in '{objects.url}'; wait for it to finish, or stop "
                "it, then run again"
            )
        if held != seen:
            seen, since = held, time.monotonic()
        time.sleep(_LOOK_SECONDS)


def _renew(objects: Objects, key: str, ends: threading.Event) -> None:
    while not ends.wait(_LEASE_SECONDS / 3):
        with suppress(LakeError):  # the next renewal makes up for a failed one
            objects.put(key, _lease(_owner(objects)))


def _lease(owner: str) -> bytes:
    return json.dumps({"owner": owner, "renewal": secrets.token_hex(8)}).encode()


def _owner(objects: Objects) -> str:
    """A random name for the local folder, kept in it from first use on."""
    path = objects.folder / ".owner"
    if not path.exists():
        with whole_path(objects.folder, path) as temporary:
            temporary.write_text(secrets.token_hex(8), encoding="utf-8")
    return path.read_text(encoding="utf-8")
