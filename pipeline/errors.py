"""What can be wrong with a user's input, as one exception tree.

Every message is one sentence for a person: what is wrong, with which file or value, and what to do.

    LatentlakeError
    ├── ConfigError      the experiment's YAML file
    ├── CorpusError      a text source
    ├── SubjectError     the subject model or a hookpoint in it
    ├── SaeError         a sparse autoencoder's files
    └── LakeError        the lake's folder, or a table that is not there yet
"""

import difflib
from collections.abc import Iterable


class LatentlakeError(Exception):
    """An error whose message is meant for the user; shown without a stack trace."""


class ConfigError(LatentlakeError):
    """The experiment's YAML file is missing, malformed or refers to what is not there."""


class CorpusError(LatentlakeError):
    """A text source is missing, empty, unreadable or changed."""


class SubjectError(LatentlakeError):
    """The subject model cannot be loaded, or a hookpoint is no module of it."""


class SaeError(LatentlakeError):
    """A sparse autoencoder's files are missing, damaged, changed or do not fit the subject model."""


class LakeError(LatentlakeError):
    """The lake cannot be written, or a table that is needed has not been materialised."""


def nearest(name: str, known: Iterable[str], n: int = 3) -> str:
    """The `n` known names most like `name`, quoted and joined for an error message."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=n, cutoff=0.4) or names[:n]
    return ", ".join(f"'{each}'" for each in close)
