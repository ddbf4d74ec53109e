"""Fixing what a lake is made from: recorded at the first run, compared at each later one.

Stage hashes start at content, so content must not change under them. The first run records the hash of every
SAE's files, of the subject model's and of every corpus file; a later run that finds other content stops. Documents
added after the recorded ones are recorded, when they are taken, as the next generation of the corpus. The first
run also records the precision that `auto` stands for, so that a lake moved to another machine keeps its rows, and
the number of features per batch.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from upath import UPath

from pipeline.config import Config, DelphiRows, FileTexts, HubTexts, PythonTexts, SaeConfig, TextSource
from pipeline.errors import CorpusError, SaeError
from pipeline.lake import Lake
from pipeline.lake.carrying import carry_over
from pipeline.sources.batches import check_batch_size
from pipeline.sources.contents import Entry, digest_of, fingerprint, hold, stamps
from pipeline.sources.python_copies import copied_path, copy_python_texts
from pipeline.sources.record import (
    SOURCES_FILE,
    generations_of,
    has_changed,
    hashes_of,
    key_of,
    read_record,
    reading_of,
    waiting_keys,
)
from pipeline.sources.subjects import hold_subject, subject_key
from pipeline.tables.versions import SourceHashes
from pipeline.texts.delphi import Split, first_split, rows_digest, splits_of
from pipeline.texts.files import CorpusFile, source_files


def fix_sources(
    config: Config, *, takes_new: bool = False, passed: Mapping[str, str] | None = None
) -> SourceHashes:
    """Record the content of new sources, check that of known ones, and determine what `auto` means.

    Documents after the recorded ones, in a known source or in sources named after these, wait until they are taken
    (`takes_new`): they become the next generation of the corpus. `passed` is recorded with the SAEs: a hash of
    what each was checked against when it was last loaded.

    Raises:
        CorpusError, SaeError, SubjectError: A source's content has changed since the lake was made from it.
        LakeError: Existing batches have another number of features than the config.
        SubjectError: The device cannot be used, or the subject model is missing.
    """
    while True:
        before = read_record(config)
        known = deepcopy(before)
        lake = Lake(config, _compare(config, known, takes_new=takes_new, takes_first=True))
        for sae, facts in (passed or {}).items():
            known["saes"][sae]["passed"] = facts
        carry_over(lake)
        if known == before or _record(lake, known, before):
            return lake.hashes


def look_at_sources(config: Config) -> SourceHashes:
    """The recorded hashes, after checking the sources against them; nothing is recorded.

    Sources that are not recorded are not read, and have none. Raises like `fix_sources`.
    """
    return _compare(config, deepcopy(read_record(config)), takes_new=False, takes_first=False)


def _compare(config: Config, known: dict[str, Any], *, takes_new: bool, takes_first: bool) -> SourceHashes:
    """Check known sources against the record, and put into it new ones and added documents, if these are taken."""
    lake = Lake(config, SourceHashes())
    for source in config.corpus.sources:
        _follow_source(config, source, known)
    is_read = Lake(config, hashes_of(config, known)).has("documents")
    waiting, generation = waiting_keys(config, known), {}
    for source in config.corpus.sources:
        key = key_of(source)
        added: Entry | None = None
        if entries := [each[key] for each in generations_of(config, known) if key in each]:
            if takes_new or not is_read or not _is_remote(source):  # nobody will ask for what is far again
                added = _hold(lake, source, entries, takes_new=takes_new)
        elif key in waiting:
            added = _content(lake, source) if takes_new else None
        elif takes_first:
            known["corpus"][key] = _content(lake, source)
        if added:
            generation[key] = added
    if generation:
        known.setdefault("later", []).append(generation)
    for sae in config.saes:
        if takes_first or sae.name in known["saes"]:
            _fix_sae(sae, config.corpus.cache, known["saes"])
    if takes_first or subject_key(config.subject) in known.get("subjects", {}):
        hold_subject(config.subject, known.setdefault("subjects", {}))
    if config.has_auto_precision and "dtype" not in known:
        from pipeline.models.load import pick_device  # imports torch, which readers of a lake need not wait for
        from pipeline.models.precision import fast_dtype

        known["dtype"] = fast_dtype(pick_device(config.device))
    hashes = hashes_of(config, known)
    check_batch_size(Lake(config, hashes), known.get("batch_size"))
    known["batch_size"] = config.selection.batch_size
    return hashes


def _record(lake: Lake, known: dict[str, Any], before: dict[str, Any]) -> bool:
    """Record what is known now, unless another process has recorded something since; returns whether it was done.

    Hashes are computed before, as that takes minutes; a second process compares again with the first one's record.
    """
    with lake.alone("sources", waits=True):
        if read_record(lake.config) != before:
            return False
        with lake.writing(lake.root / SOURCES_FILE) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.write(json.dumps(known, indent=1, sort_keys=True) + "\n")
            file.flush()
            os.fsync(file.fileno())  # unlike a table, it cannot be made again if power fails
        return True


def _is_remote(source: TextSource) -> bool:
    return isinstance(source, FileTexts) and source.is_remote


def _content(lake: Lake, source: TextSource) -> Entry:
    """The entry of a new source."""
    match source:
        case PythonTexts():
            return {"digest": copy_python_texts(lake, source)}
        case DelphiRows(is_remote=True):
            return _splits_content([first_split(source.folder)], {})
        case DelphiRows():
            return {"digest": rows_digest(source.folder), "files": _size_and_time(first_split(source.folder))}
        case HubTexts() if not Path(source.dataset).exists():
            return {"digest": _hub_revision(source)}
        case HubTexts():
            return fingerprint(_dataset_files(source), {})
        case FileTexts(is_remote=True):
            return stamps(source_files(source))
        case FileTexts():
            return fingerprint([Path(file.location) for file in source_files(source)], {})


def _hold(lake: Lake, source: TextSource, entries: Sequence[Entry], *, takes_new: bool) -> Entry | None:
    """Check a source against its entries; returns the entry for additions, if these are to be taken."""
    match source:
        case PythonTexts():
            if not copied_path(lake.config, entries[0]["digest"]).exists():
                entries[0].update(_content(lake, source))
        case DelphiRows(is_remote=True):
            if _content(lake, source) != entries[0]:
                raise has_changed(lake.config, source)
        case DelphiRows():
            if (files := _size_and_time(first_split(source.folder))) != entries[0].get("files"):
                if rows_digest(source.folder) != entries[0]["digest"]:
                    raise has_changed(lake.config, source)
                entries[0]["files"] = files
        case HubTexts() if Path(source.dataset).exists():
            content = fingerprint(_dataset_files(source), entries[0]["files"])
            if content["digest"] != entries[0]["digest"]:
                raise has_changed(lake.config, source)
            entries[0].update(content)
        case FileTexts():
            try:
                return hold(source, entries, reads_added=takes_new)
            except ValueError as error:
                raise has_changed(lake.config, source, str(error)) from None
    return None


def _follow_source(config: Config, source: TextSource, known: dict[str, Any]) -> None:
    """Keep the record of files that the config now names by another path."""
    generations = (known["corpus"], *known.get("later", ()))
    keys = {key_of(each) for each in config.corpus.sources}
    key = key_of(source)
    if not isinstance(source, FileTexts) or any(key in each for each in generations):
        return
    for other in sorted({each for generation in generations for each in generation} - keys):
        if reading_of(other) == reading_of(key):
            moved = {number: deepcopy(each[other]) for number, each in enumerate(generations) if other in each}
            try:
                hold(source, [*moved.values()], reads_added=False, reads_grown=True)
            except ValueError:
                continue
            for number, entry in moved.items():
                generations[number][key] = entry
            return


def _dataset_files(source: HubTexts) -> list[Path]:
    return sorted(path for path in Path(source.dataset).rglob("*") if path.is_file())


def _fix_sae(sae: SaeConfig, cache: DelphiRows | None, known: dict[str, Any]) -> None:
    recorded = known.get(sae.name)
    seen, where = (recorded or {}).get("files", {}), sae.source
    content: Entry = {"digest": "", "files": {}}
    if sae.source is not None:
        from pipeline.sae import sae_files
        from pipeline.sae.sources import DESCRIPTIVE

        files = sae_files(sae.source, sae.format)
        content = fingerprint(list(files.paths.values()), seen)
        said = {key: value for key, value in files.overrides.items() if key not in DESCRIPTIVE}
        former = _said_of(content["digest"], files.overrides)  # older lakes hold all that the registry said
        is_former = recorded is not None and recorded["digest"] == former
        content["digest"] = former if is_former else _said_of(content["digest"], said)
        content["outside"] = dict(files.outside)
    if cache is not None:
        firings = _splits_content(splits_of(cache.folder / sae.hookpoint), seen)
        content["digest"] = digest_of([content["digest"], firings["digest"]])
        content["files"] |= firings["files"]
        where = where or str(cache.folder / sae.hookpoint)
    if recorded and recorded["digest"] != content["digest"]:
        old = re.search(r"/snapshots/([0-9a-f]{40})/", next(iter(seen), ""))  # the hub's cache
        back = "put the old files back"
        cure = f"set saes.source to the old commit, hf://OWNER/REPO@{old[1]}/…" if old else back
        raise SaeError(
            f"SAE '{sae.name}' at '{where}' is not the one that this lake was made with; give the new one "
            f"another name in the config, or {cure}"
        )
    if recorded:
        _check_outside(sae, content.get("outside", {}), recorded.get("outside"))
    if recorded and "passed" in recorded:
        content["passed"] = recorded["passed"]
    known[sae.name] = content


def _check_outside(sae: SaeConfig, found: Mapping[str, Any], known: Mapping[str, Any] | None) -> None:
    """Raise SaeError where the same files would be read in another way now; older lakes do not know in which."""
    if known is None or found == known:
        return
    names = sorted(name for name in {*found, *known} if found.get(name) != known.get(name))
    now, before = (", ".join(f"{name} {said.get(name)}" for name in names) for said in (found, known))
    raise SaeError(
        f"SAE '{sae.name}' at '{sae.source}' has the files that this lake was made with, but their path, or the "
        f"config above them, says {now}, and said {before}; put them back, or give this one another name in the "
        "config"
    )


def _said_of(digest: str, overrides: Mapping[str, Any]) -> str:
    """The digest of files together with their entry in SAELens' registry."""
    return digest_of([digest, json.dumps(dict(overrides), sort_keys=True)]) if overrides else digest


def _splits_content(splits: Sequence[Split], known: Mapping[str, Any]) -> Entry:
    """What is recorded of the files of a cache; of those at a URL the stamps alone."""
    paths = [split.path for split in splits]
    if remote := [path for path in paths if isinstance(path, UPath)]:
        return stamps([CorpusFile(path.path, path.name, path.fs) for path in remote])
    return fingerprint([path for path in paths if isinstance(path, Path)], known)


def _size_and_time(split: Split) -> dict[str, Any]:
    """Those of a local split's file, by its location: while they stay, its rows are not read again."""
    stat = Path(str(split.path)).stat()
    return {str(split.path): {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}}


def _hub_revision(source: HubTexts) -> str:
    """The commit of a dataset on the hub. Raises CorpusError if the hub cannot be reached."""
    from huggingface_hub import HfApi

    try:
        return str(HfApi().dataset_info(source.dataset, revision=source.revision).sha)
    except Exception as error:  # noqa: BLE001 (the hub client raises many kinds)
        raise CorpusError(
            f"dataset '{source.dataset}' cannot be found on the Hugging Face hub ({type(error).__name__}); it "
            "needs a connection and, for gated data, a token in HF_TOKEN"
        ) from None
