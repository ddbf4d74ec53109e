"""What the lake was made from, fixed at the first run: `sources.json`.

Stage hashes start at content, so content must not change under them. The first run records the hash of
every SAE's files and of every corpus file; a later run that finds another content stops. What is added behind the
recorded documents is recorded beside them, when it is taken, as the next generation of the corpus. The first run
also records the precision that `auto` stands for, so that a lake which moves to another machine keeps its rows.
The texts of the embedded default are copied into the lake, since installing a package changes them.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from pipeline.config import Config, DelphiRows, FileTexts, HubTexts, PythonTexts, SaeConfig, TextSource
from pipeline.corpus.delphi import Split, first_split, rows_digest, splits_of
from pipeline.corpus.files import CorpusFile, source_files
from pipeline.corpus.readers import read_texts, source_name
from pipeline.corpus.texts import Text
from pipeline.errors import CorpusError, LakeError, SaeError
from pipeline.lake import Lake
from pipeline.lake.carrying import carry_over
from pipeline.lake.contents import Entry, digest_of, files_to_read, fingerprint, hold, look, stamps
from pipeline.tables.versions import SourceHashes

SOURCES_FILE = "sources.json"
_TEXTS = pa.schema([("source", pa.string()), ("unit", pa.string()), ("text", pa.string())])


def open_sources(config: Config) -> SourceHashes:
    """The hashes that the lake has recorded so far; reads nothing else."""
    return _hashes(config, _load(config))


def recorded_lake(config: Config) -> Lake:
    """The lake of an experiment as its last run has left it; nothing is checked."""
    return Lake(config, open_sources(config))


def _hashes(config: Config, known: dict[str, Any]) -> SourceHashes:
    first, *later = _generations(config, known)
    others = {key for each in later for key in each} | set(_waiting(config, known))
    keys = [key for key in map(_key, config.corpus.sources) if key in first or key not in others]
    corpus = [_reading(key) + first.get(key, {}).get("digest", "") for key in keys]
    generations = [digest_of(_reading(key) + each[key]["digest"] for key in each) for each in later]
    saes = {sae.name: known["saes"].get(sae.name, {}).get("digest", "") for sae in config.saes}
    return SourceHashes(digest_of(corpus), saes, known.get("dtype"), tuple(generations))


def fix_sources(config: Config, *, takes_new: bool = False) -> SourceHashes:
    """Record the content of new sources, and hold known ones to what was recorded; find out what `auto` means.

    Documents behind the recorded ones, of a known source or of sources named behind these, wait until they are
    taken (`takes_new`): they become the next generation of the corpus.

    Raises:
        CorpusError, SaeError: A source's content has changed since the lake was made from it.
        SubjectError: The device cannot be used.
    """
    lake = Lake(config, SourceHashes())
    known = _load(config)
    before = json.dumps(known, sort_keys=True)
    for source in config.corpus.sources:
        _follow_source(config, source, known)
    waiting, generation = _waiting(config, known), {}
    for source in config.corpus.sources:
        key = _key(source)
        if entries := [each[key] for each in _generations(config, known) if key in each]:
            added = _hold(lake, source, entries, takes_new)
        elif key in waiting:
            added = _content(lake, source) if takes_new else None
        else:
            known["corpus"][key], added = _content(lake, source), None
        if added:
            generation[key] = added
    if generation:
        known.setdefault("later", []).append(generation)
    for sae in config.saes:
        _fix_sae(sae, config.corpus.cache, known["saes"])
    if config.has_auto_precision and "dtype" not in known:
        from pipeline.models.load import pick_device  # torch, which those who only read a lake do not wait for
        from pipeline.models.precision import fast_dtype

        known["dtype"] = fast_dtype(pick_device(config.device))
    hashes = _hashes(config, known)
    carry_over(Lake(config, hashes))
    if json.dumps(known, sort_keys=True) != before:
        with lake.writing(lake.root / SOURCES_FILE) as temporary:
            temporary.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return hashes


def corpus_texts(
    config: Config, leave_out: Callable[[CorpusError], None] = lambda error: None, generation: int = 0
) -> Iterator[Text]:
    """The texts of a generation's sources in order, as the lake has fixed them.

    What cannot be read is given to `leave_out`. Raises CorpusError for it if corpus.unreadable is `stop`.
    """
    without = None if config.corpus.unreadable == "stop" else leave_out
    generations = _generations(config, _load(config))
    for source in config.corpus.sources:
        key = _key(source)
        if (entry := generations[generation].get(key)) is None:
            continue
        if isinstance(source, PythonTexts):
            yield from _copied_texts(config, entry["digest"])
        elif isinstance(source, DelphiRows):
            yield from read_texts(source)
        elif isinstance(source, FileTexts):
            entries = [each[key] for each in generations if key in each]
            yield from read_texts(source, without, files_to_read(source, entries, entry))
        else:
            revision = entry["digest"] if not Path(source.dataset).exists() else None
            yield from read_texts(source.model_copy(update={"revision": revision}), without)


class New(NamedTuple):
    """What was added to the recorded documents, as far as a listing shows.

    Attributes:
        names: Files and sources that have something new.
        stamp: A hash of their names and sizes.
        unasked: Sources that cannot be asked without reading them: datasets on the hub.
    """

    names: Sequence[str]
    stamp: str
    unasked: Sequence[str]


def new_documents(config: Config) -> New:
    """Whether documents were added to the recorded ones, by names, sizes and times of files; nothing is read.

    Raises CorpusError if a recorded file is gone or cannot be listed.
    """
    known = _load(config)
    sizes: dict[str, int] = {}
    unasked: list[str] = []
    for source in config.corpus.sources:
        key, name = _key(source), source_name(source)
        entries = [each[key] for each in _generations(config, known) if key in each]
        if not entries:
            sizes[name] = 0
        elif isinstance(source, FileTexts):
            seen = look(source, entries)
            if seen.gone:
                raise _has_changed(config, source, seen.gone[0])
            sizes |= {file.place: 0 for file in seen.added}
            sizes |= {str(path): path.stat().st_size for path in seen.longer}
        elif isinstance(source, HubTexts):
            unasked.append(name)
    return New(sorted(sizes), digest_of(f"{name} {sizes[name]}" for name in sorted(sizes)), unasked)


def _generations(config: Config, known: dict[str, Any]) -> list[dict[str, Entry]]:
    """What each generation has of the config's sources, by their keys; of those that have none only the first."""
    keys = [_key(source) for source in config.corpus.sources]
    all_of_them = (known["corpus"], *known.get("later", ()))
    found = [{key: each[key] for key in keys if key in each} for each in all_of_them]
    return [each for each in found if each] or [{}]


def _waiting(config: Config, known: dict[str, Any]) -> list[str]:
    """The keys of sources that are not recorded, and are named after all that are."""
    keys = [_key(source) for source in config.corpus.sources]
    known_keys = {key for each in _generations(config, known) for key in each}
    recorded = [number for number, key in enumerate(keys) if key in known_keys]
    return keys[recorded[-1] + 1 :] if recorded else []


def _content(lake: Lake, source: TextSource) -> Entry:
    """What is recorded of a source that is new."""
    match source:
        case PythonTexts():
            return {"digest": _copy_python_texts(lake, source)}
        case DelphiRows(is_remote=True):
            return _splits_content([first_split(source.folder)], {})
        case DelphiRows():
            return {"digest": rows_digest(source.folder)}
        case HubTexts() if not Path(source.dataset).exists():
            return {"digest": _hub_revision(source)}
        case HubTexts():
            return fingerprint(_dataset_files(source), {})
        case FileTexts(is_remote=True):
            return stamps(source_files(source))
        case FileTexts():
            return fingerprint([Path(file.place) for file in source_files(source)], {})


def _hold(lake: Lake, source: TextSource, entries: Sequence[Entry], takes_new: bool) -> Entry | None:
    """Check a source against its entries; the entry of what was added to it, if that is to be taken."""
    match source:
        case PythonTexts():
            if not _copy_path(lake.config, entries[0]["digest"]).exists():
                entries[0].update(_content(lake, source))
        case DelphiRows() if _content(lake, source) != entries[0]:
            raise _has_changed(lake.config, source)
        case HubTexts() if Path(source.dataset).exists():
            content = fingerprint(_dataset_files(source), entries[0]["files"])
            if content["digest"] != entries[0]["digest"]:
                raise _has_changed(lake.config, source)
            entries[0].update(content)
        case FileTexts():
            try:
                return hold(source, entries, reads_added=takes_new)
            except ValueError as error:
                raise _has_changed(lake.config, source, str(error)) from None
    return None


def _follow_source(config: Config, source: TextSource, known: dict[str, Any]) -> None:
    """Keep what is recorded of files that the config now names by another path."""
    generations = (known["corpus"], *known.get("later", ()))
    keys = {_key(each) for each in config.corpus.sources}
    key = _key(source)
    if not isinstance(source, FileTexts) or any(key in each for each in generations):
        return
    for other in sorted({each for generation in generations for each in generation} - keys):
        if _reading(other) == _reading(key):
            moved = {number: deepcopy(each[other]) for number, each in enumerate(generations) if other in each}
            try:
                hold(source, [*moved.values()], reads_added=False)
            except ValueError:
                continue
            for number, entry in moved.items():
                generations[number][key] = entry
            return


def _has_changed(config: Config, source: TextSource, file: str = "") -> CorpusError:
    where = f" (file '{file}')" if file else ""
    return CorpusError(
        f"corpus source '{source_name(source)}' has changed since lake '{config.lake_folder}' was made from "
        f"it{where}; give the experiment another name, or put the old files back"
    )


def _dataset_files(source: HubTexts) -> list[Path]:
    return sorted(path for path in Path(source.dataset).rglob("*") if path.is_file())


def _fix_sae(sae: SaeConfig, cache: DelphiRows | None, known: dict[str, Any]) -> None:
    recorded = known.get(sae.name)
    seen, where = (recorded or {}).get("files", {}), sae.source
    content: Entry = {"digest": "", "files": {}}
    if sae.source is not None:
        from pipeline.sae import sae_files

        files = sae_files(sae.source, sae.format)
        content = fingerprint(list(files.paths.values()), seen)
        if files.overrides:
            content["digest"] = digest_of([content["digest"], json.dumps(files.overrides, sort_keys=True)])
    if cache is not None:
        firings = _splits_content(splits_of(cache.folder / sae.hookpoint), seen)
        content["digest"] = digest_of([content["digest"], firings["digest"]])
        content["files"] |= firings["files"]
        where = where or str(cache.folder / sae.hookpoint)
    if recorded and recorded["digest"] != content["digest"]:
        raise SaeError(
            f"SAE '{sae.name}' at '{where}' is not the one that this lake was made with; give the new one "
            "another name in the config, or put the old files back"
        )
    known[sae.name] = content


def _splits_content(splits: Sequence[Split], known: Mapping[str, Any]) -> Entry:
    """What is recorded of the files of a cache; of those at a URL the stamps alone."""
    paths = [split.path for split in splits]
    if remote := [path for path in paths if isinstance(path, UPath)]:
        return stamps([CorpusFile(path.path, path.name, path.fs) for path in remote])
    return fingerprint([path for path in paths if isinstance(path, Path)], known)


def _copy_python_texts(lake: Lake, source: PythonTexts) -> str:
    texts = list(read_texts(source))  # some 3 MB on any installation
    table = pa.table([[getattr(text, name) for text in texts] for name in _TEXTS.names], schema=_TEXTS)
    digest = digest_of(text.text for text in texts)
    with lake.writing(_copy_path(lake.config, digest)) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    return digest


def _copied_texts(config: Config, digest: str) -> Iterator[Text]:
    for batch in pq.ParquetFile(_copy_path(config, digest)).iter_batches(256):
        for row in batch.to_pylist():
            yield Text(**row)


def _copy_path(config: Config, digest: str) -> Path:
    path = config.lake_folder / "sources" / f"{digest[:12]}.parquet"
    return Lake(config, SourceHashes()).fetched(path)


def _hub_revision(source: HubTexts) -> str:
    """The commit of a dataset on the hub. Raises CorpusError where the hub cannot be asked."""
    from huggingface_hub import HfApi

    try:
        return str(HfApi().dataset_info(source.dataset, revision=source.revision).sha)
    except Exception as error:  # noqa: BLE001 (the hub client raises many kinds)
        raise CorpusError(
            f"dataset '{source.dataset}' cannot be found on the Hugging Face hub ({type(error).__name__}); it "
            "needs a connection and, for gated data, a token in HF_TOKEN"
        ) from None


def _load(config: Config) -> dict[str, Any]:
    path = Lake(config, SourceHashes()).fetched(config.lake_folder / SOURCES_FILE)
    if not path.exists():
        return {"corpus": {}, "saes": {}}
    try:
        known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LakeError(f"'{path}' is not JSON ({error}); restore it, or begin a new lake") from None
    if not isinstance(known, dict) or not {"corpus", "saes"} <= known.keys():
        raise LakeError(f"'{path}' does not say what the lake was made from; restore it, or begin a new lake")
    return known


_LATER_FIELDS = ("messages_field", "tokens_field")
"""Keys that came later: left out where nothing is said, so that lakes made before keep their rows."""


def _key(source: TextSource) -> str:
    said = source.model_dump(mode="json")
    return json.dumps({key: said[key] for key in said if key not in _LATER_FIELDS or said[key]}, sort_keys=True)


def _reading(key: str) -> str:
    """How a source is read, without where it is: its fields and limits."""
    said: dict[str, Any] = json.loads(key)
    where = {"path", "dataset", "revision"}
    return json.dumps({key: value for key, value in said.items() if key not in where}, sort_keys=True)
