"""Errors in a user's input or machine, as one exception tree.

Every message is one sentence for a person: what is wrong, the file or value, and what to do.

    LatentlakeError
    ├── ConfigError      the experiment's YAML file
    ├── CorpusError      a text source
    ├── SubjectError     the subject model or a hookpoint in it
    ├── SaeError         a sparse autoencoder's files
    ├── LakeError        the lake's folder, or a table that does not exist yet
    └── RuleError        a rule in words
"""

import difflib
import errno
import re
from collections.abc import Iterable, Sequence


class LatentlakeError(Exception):
    """An error whose message is meant for the user; shown without a stack trace."""


class ConfigError(LatentlakeError):
    """The experiment's YAML file is missing, malformed or refers to something that does not exist."""


class CorpusError(LatentlakeError):
    """A text source is missing, empty, unreadable or changed."""


class SubjectError(LatentlakeError):
    """The subject model cannot be loaded, or a hookpoint is not one of its modules."""


class SaeError(LatentlakeError):
    """A sparse autoencoder's files are missing, damaged, changed or do not fit the subject model."""


class LakeError(LatentlakeError):
    """The lake cannot be written, or a table that is needed has not been materialised."""


class RuleError(LatentlakeError):
    """A rule cannot be parsed, or names something that is not a token."""


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_REFUSED = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EFBIG, errno.ESTALE, errno.EMFILE, errno.ENFILE}
    | {errno.ENAMETOOLONG, errno.ELOOP}
)
_WITHOUT_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})
_TORN = re.compile(r"magic bytes|too small to be a Parquet file|not a valid DuckDB database file")
_SMALLER = (
    "use a smaller model or a narrower dtype (subject.dtype, precision: int8), or another device; then run again"
)
_ROOM = (
    "free some space, or put the lake on a larger disk (machine.lake or LATENTLAKE_LAKE), then run again to "
    "continue: finished work is kept"
)


def faults() -> tuple[type[BaseException], ...]:
    """The exceptions to catch and pass to `sentence_of`, which separates faults of input and machine from bugs."""
    import duckdb

    return LatentlakeError, OSError, duckdb.Error, RuntimeError, MemoryError


def sentence_of(error: BaseException) -> str | None:
    """The sentence for an error that is not a bug of ours: bad input, a full disk, a failing disk, a stop.

    None for everything else; the caller raises it again.
    """
    import duckdb

    if isinstance(error, LatentlakeError):
        return str(error)
    words = " ".join(str(error).split())
    match error:
        case OSError(errno=number) if number in _FULL:
            return f"the disk is full ({words}); {_ROOM}"
        case OSError(errno=number) if number in _REFUSED:
            return f"a file cannot be read or written: {words}"
        case duckdb.OutOfMemoryException():
            return f"DuckDB has too little memory ({words}); raise machine.memory_limit, or {_ROOM}"
        case OSError(errno=number) if number in _WITHOUT_LOCKS:
            return (
                f"a filesystem does not lock files ({words}); mount it with locks (Lustre with -o flock, NFS "
                "without nolock), or put the lake, or DAGSTER_HOME, on another"
            )
        case OSError() | duckdb.Error() if "No space left" in words:  # from Arrow, without an errno
            return f"the disk is full ({words}); {_ROOM}"
        case duckdb.InvalidInputException() | duckdb.IOException() if _TORN.search(words):
            return f"a file of the lake is damaged ({words}); delete it and run again; it will be rebuilt"
        case duckdb.IOException() | duckdb.FatalException():
            return f"DuckDB: {words}"
        case RuntimeError() if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported here
            return f"the device has too little memory ({words}); lower machine.batch_tokens, or {_SMALLER}"
        case MemoryError():
            return f"this machine has too little memory ({words or 'no size given'}); {_SMALLER}"
        case RuntimeError() if words.startswith("cannot cache function"):
            return "numba has nowhere to cache compiled code; set NUMBA_CACHE_DIR to a writable folder"
        case RuntimeError() if words == "Could not determine home directory.":
            return "a path begins with ~ and a user name that this machine does not have; write the path in full"
        case RuntimeError() if words == "Query interrupted":  # how DuckDB ends at Ctrl-C
            return "stopped; run again to continue"
        case _:
            return None


def nearest(name: str, known: Iterable[str], n: int = 3) -> str:
    """The `n` known names most similar to `name`, quoted and joined for an error message."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=n, cutoff=0.4) or names[:n]
    return ", ".join(f"'{each}'" for each in close)


def some_of(names: Sequence[str], most: int) -> str:
    """The first names, and how many more there are: `a, b and 3 more`."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
