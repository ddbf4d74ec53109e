"""What the lake was made from, fixed at the first run: `sources.json`.

Stage hashes start at content, so content must not change under them. The first run records the hash of
every SAE's files and of every corpus file; a later run that finds another content stops. It also records the
precision that `auto` stands for, so that a lake which moves to another machine keeps its rows. Sizes and times
are recorded beside the hashes, so an unchanged file is not read again. The texts of the embedded default
are copied into the lake, since installing a package changes them.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import Config, FileTexts, HubTexts, PythonTexts, SaeConfig, TextSource
from pipeline.corpus.files import CorpusFile, relative_names, source_files
from pipeline.corpus.readers import read_texts, source_name
from pipeline.corpus.texts import Text
from pipeline.errors import CorpusError, LakeError, SaeError
from pipeline.lake import Lake
from pipeline.models.load import pick_device
from pipeline.models.precision import fast_dtype
from pipeline.sae import sae_files
from pipeline.tables.versions import SourceHashes

SOURCES_FILE = "sources.json"
_TEXTS = pa.schema([("source", pa.string()), ("unit", pa.string()), ("text", pa.string())])


def open_sources(config: Config) -> SourceHashes:
    """The hashes that the lake has recorded so far; reads nothing else."""
    known = _load(config.lake_folder)
    corpus = [
        _reading(source) + known["corpus"].get(_key(source), {}).get("digest", "")
        for source in config.corpus.sources
    ]
    saes = {sae.name: known["saes"].get(sae.name, {}).get("digest", "") for sae in config.saes}
    return SourceHashes(_digest(corpus), saes, known.get("dtype"))


def fix_sources(config: Config) -> SourceHashes:
    """Record the content of new sources, and hold known ones to what was recorded; find out what `auto` means.

    Raises:
        CorpusError, SaeError: A source's content has changed since the lake was made from it.
        SubjectError: The device cannot be used.
    """
    lake = Lake(config, SourceHashes())
    known = _load(lake.root)
    before = json.dumps(known, sort_keys=True)
    for source in config.corpus.sources:
        _fix_corpus(lake, source, known["corpus"])
    for sae in config.saes:
        _fix_sae(sae, known["saes"])
    if config.has_auto_precision and "dtype" not in known:
        known["dtype"] = fast_dtype(pick_device(config.device))
    if json.dumps(known, sort_keys=True) != before:
        with lake.writing(lake.root / SOURCES_FILE) as temporary:
            temporary.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return open_sources(config)


def corpus_texts(config: Config, leave_out: Callable[[CorpusError], None] = lambda error: None) -> Iterator[Text]:
    """The texts of all sources in order, as the lake has fixed them.

    What cannot be read is given to `leave_out`. Raises CorpusError for it if corpus.unreadable is `stop`.
    """
    without = None if config.corpus.unreadable == "stop" else leave_out
    known = _load(config.lake_folder)["corpus"]
    for source in config.corpus.sources:
        if isinstance(source, PythonTexts):
            yield from _copied_texts(config, known[_key(source)]["digest"])
        elif isinstance(source, HubTexts):
            revision = known[_key(source)]["digest"] if not Path(source.dataset).exists() else None
            yield from read_texts(source.model_copy(update={"revision": revision}), without)
        else:
            yield from read_texts(source, without)


def _fix_corpus(lake: Lake, source: TextSource, known: dict[str, Any]) -> None:
    key = _key(source)
    recorded = known.get(key)
    match source:
        case PythonTexts():
            if recorded is None or not _copy_path(lake.config, recorded["digest"]).exists():
                known[key] = {"digest": _copy_python_texts(lake, source)}
            return
        case HubTexts() if not Path(source.dataset).exists():
            if recorded is None:
                known[key] = {"digest": _hub_revision(source)}
            return
        case HubTexts():
            files = sorted(path for path in Path(source.dataset).rglob("*") if path.is_file())
            content = _fingerprint(files, (recorded or {}).get("files", {}))
        case FileTexts(is_remote=True):
            content = _stamps(source_files(source))
        case FileTexts():
            files = [Path(file.place) for file in source_files(source)]
            content = _fingerprint(files, (recorded or {}).get("files", {}))
    if recorded and recorded["digest"] != content["digest"]:
        raise CorpusError(
            f"corpus source '{source_name(source)}' has changed since lake '{lake.root}' was made from it; "
            "give the experiment another name, or put the old files back"
        )
    known[key] = content


def _fix_sae(sae: SaeConfig, known: dict[str, Any]) -> None:
    recorded = known.get(sae.name)
    files = sae_files(sae.source, sae.format)
    content = _fingerprint(list(files.paths.values()), (recorded or {}).get("files", {}))
    if files.overrides:
        content["digest"] = _digest([content["digest"], json.dumps(files.overrides, sort_keys=True)])
    if recorded and recorded["digest"] != content["digest"]:
        raise SaeError(
            f"SAE '{sae.name}' at '{sae.source}' is not the one that this lake was made with; give the new one "
            "another name in the config, or put the old files back"
        )
    known[sae.name] = content


def _fingerprint(files: Sequence[Path], known: dict[str, Any]) -> dict[str, Any]:
    """Size, time and SHA-256 of each file, and a digest over the hashes; unchanged files are not read again."""
    found = {}
    for path in files:
        stat = path.stat()
        entry = known.get(str(path.absolute()), {})
        if (entry.get("size"), entry.get("mtime_ns")) != (stat.st_size, stat.st_mtime_ns):
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            entry = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": sha256}
        found[str(path.absolute())] = entry
    names = relative_names(files)  # a name can be a unit, and so decide a role
    content = [f"{names[path]} {found[str(path.absolute())]['sha256']}" for path in files]
    return {"digest": _digest(content), "files": found}


def _stamps(files: Sequence[CorpusFile]) -> dict[str, Any]:
    """The stamp of each file at a URL, and a digest over them; nothing is read for it."""
    found = {file.place: {"stamp": file.stamp()} for file in files}
    return {"digest": _digest(f"{file.name} {found[file.place]['stamp']}" for file in files), "files": found}


def _copy_python_texts(lake: Lake, source: PythonTexts) -> str:
    texts = list(read_texts(source))  # some 3 MB on any installation
    table = pa.table([[getattr(text, name) for text in texts] for name in _TEXTS.names], schema=_TEXTS)
    digest = _digest([text.text for text in texts])
    with lake.writing(_copy_path(lake.config, digest)) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    return digest


def _copied_texts(config: Config, digest: str) -> Iterator[Text]:
    for batch in pq.ParquetFile(_copy_path(config, digest)).iter_batches(256):
        for row in batch.to_pylist():
            yield Text(**row)


def _copy_path(config: Config, digest: str) -> Path:
    return config.lake_folder / "sources" / f"{digest[:12]}.parquet"


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


def _load(folder: Path) -> dict[str, Any]:
    path = folder / SOURCES_FILE
    if not path.exists():
        return {"corpus": {}, "saes": {}}
    try:
        known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LakeError(f"'{path}' is not JSON ({error}); restore it, or begin a new lake") from None
    return known


_LATER_FIELDS = ("messages_field", "tokens_field")
"""Keys that came later: left out where nothing is said, so that lakes made before keep their rows."""


def _key(source: TextSource) -> str:
    said = source.model_dump(mode="json")
    return json.dumps({key: said[key] for key in said if key not in _LATER_FIELDS or said[key]}, sort_keys=True)


def _reading(source: TextSource) -> str:
    """How a source is read, without where it is: its fields and limits."""
    said: dict[str, Any] = json.loads(_key(source))
    where = {"path", "dataset", "revision"}
    return json.dumps({key: value for key, value in said.items() if key not in where}, sort_keys=True)


def _digest(parts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part.encode()).digest())
    return digest.hexdigest()
