"""The recorded content of a subject model: the hash of its files, or its commit on the hub."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.config import SubjectConfig
from pipeline.errors import SubjectError
from pipeline.sources.contents import Entry, fingerprint

_CONFIG_FILE = "config.json"
_READ = {".gguf", ".json", ".safetensors", ".bin", ".model", ".txt", ".jinja"}
"""Suffixes of files that transformers reads from a model's folder."""
_COMMIT = re.compile(r"[0-9a-f]{40}")


def subject_key(subject: SubjectConfig) -> str:
    """What a subject model is recorded under: what the config says of where it is."""
    return json.dumps([subject.model, subject.revision, subject.gguf_file])


def hold_subject(subject: SubjectConfig, known: dict[str, Any]) -> None:
    """Check a model against the record, or record it; known files are not read again.

    Raises SubjectError if it is missing or has changed.
    """
    key = subject_key(subject)
    recorded: Entry | None = known.get(key)
    content = _content(subject, recorded["files"] if recorded else {})
    if recorded and recorded["digest"] != content["digest"]:
        cure = "put the old files back"
        if _COMMIT.fullmatch(recorded["digest"]):
            cure = f"set subject.revision to the old commit, {recorded['digest']}"
        raise SubjectError(
            f"subject model '{subject.model}' is not the one that this lake was made with; {cure}, or give the "
            "experiment another name"
        )
    known[key] = content


def _content(subject: SubjectConfig, known: Mapping[str, Any]) -> Entry:
    """Hash or commit, and the files by their sizes and times."""
    from pipeline.models.load import loading, locate  # torch, which readers of a lake do not wait for
    from pipeline.models.wheels import MODELS

    if subject.model in MODELS:
        return {"digest": MODELS[subject.model].sha256, "files": {}}
    location = locate(subject)
    folder = Path(location.name)
    if folder.is_dir():
        named = [folder / location.gguf_file] if location.gguf_file else folder.iterdir()
        return fingerprint(sorted(path for path in named if path.suffix in _READ and path.is_file()), known)
    from transformers.utils.hub import cached_file

    name = location.gguf_file or _CONFIG_FILE
    with loading(subject.model):
        file = Path(str(cached_file(location.name, name, revision=location.revision)))
    commits = [part for part in file.parts if _COMMIT.fullmatch(part)]  # of the folder of its snapshot
    return {"digest": commits[-1], "files": {}} if commits else fingerprint([file], known)
