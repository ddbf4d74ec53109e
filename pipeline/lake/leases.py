"""A partition is made on one machine at a time: a lease in the object store, renewed while it is held.

The leases of a name are numbered objects, and whoever puts the next number first has it, which the store decides.
It may be put when the last one has been given up, is of this same folder (then its process is dead, as a lock on
the local disk is taken before), or has not been renewed for as long as a lease lasts, by the clock of who looks.
A process that stalls for longer can lose it; then two make the same rows, and the later version counts, whole.
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
    """Hold the lease of a name. Raises LakeError if another machine renews it, and this one is not to wait."""
    key = _take(objects, name, waits=waits)
    objects.look_again()  # whoever had it before has published something
    ends = threading.Event()
    renewing = threading.Thread(target=_renew, args=(objects, key, ends), daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ends.set()
        renewing.join()
        with suppress(LakeError):  # else it ends by itself
            objects.put(key, _FREE)


def _take(objects: Objects, name: str, *, waits: bool) -> str:
    """Put the next lease of a name, when that may be done; its key."""
    folder, own = f"leases/{name.replace(' ', '/')}", _owner(objects)
    seen, since = b"", 0.0
    while True:
        keys = sorted(objects.list_keys(folder))
        held = objects.get(keys[-1]) if keys else _FREE
        if not held:  # another has taken the next one since the listing
            time.sleep(_AGAIN_SECONDS)
            continue
        is_over = held == seen and time.monotonic() - since > _LEASE_SECONDS
        if held == _FREE or json.loads(held)["owner"] == own or is_over:
            number = int(keys[-1].rpartition("/")[2]) + 1 if keys else 1
            is_put = objects.put_new(key := f"{folder}/{number:08d}", _lease(own))
            # That number may have been taken, given up and removed since the listing: then there is a later one.
            if is_put and key == max(objects.list_keys(folder)):
                objects.remove(keys)
                return key
            if is_put:
                objects.remove([key])
            continue
        if not seen:
            tell(f"'{name}' was begun on another machine; whether that is still at work is seen within a minute")
        elif held != seen and not waits:
            raise LakeError(
                f"another machine is making '{name}' in '{objects.url}'; let it end or stop it, and run again"
            )
        if held != seen:
            seen, since = held, time.monotonic()
        time.sleep(_LOOK_SECONDS)


def _renew(objects: Objects, key: str, ends: threading.Event) -> None:
    while not ends.wait(_LEASE_SECONDS / 3):
        with suppress(LakeError):  # a renewal that fails is made up for by the next one
            objects.put(key, _lease(_owner(objects)))


def _lease(owner: str) -> bytes:
    return json.dumps({"owner": owner, "renewal": secrets.token_hex(8)}).encode()


def _owner(objects: Objects) -> str:
    """A name for the local folder, drawn at first use and kept in it."""
    path = objects.folder / ".owner"
    if not path.exists():
        with whole_path(objects.folder, path) as temporary:
            temporary.write_text(secrets.token_hex(8), encoding="utf-8")
    return path.read_text(encoding="utf-8")
