"""The record of what a lake was made from: `sources.json`.

By source of the corpus, by SAE and by subject model, the content that it had at the first run; what was added to
the corpus since, as further generations; the precision that `auto` stands for; and the number of features per
batch, as batch files are named by number.
"""

import json
from typing import Any

from pipeline.config import Config, TextSource
from pipeline.errors import CorpusError, LakeError
from pipeline.lake import Lake
from pipeline.sources.batches import check_batch_size
from pipeline.sources.contents import Entry, digest_of
from pipeline.tables.versions import SourceHashes
from pipeline.texts.readers import source_name

SOURCES_FILE = "sources.json"


def open_sources(config: Config) -> SourceHashes:
    """The hashes recorded so far, without reading anything else.

    Raises LakeError if the lake's batches have another number of features than the config says.
    """
    known = read_record(config)
    hashes = hashes_of(config, known)
    check_batch_size(Lake(config, hashes), known.get("batch_size"))
    return hashes


def recorded_lake(config: Config) -> Lake:
    """The lake of an experiment as its last run left it; nothing is checked."""
    return Lake(config, open_sources(config))


def sources_to_read(config: Config) -> list[TextSource]:
    """The corpus's sources that are still to be read: all until their documents are in the lake.

    Then those that are not recorded yet.
    """
    known = read_record(config)
    if not Lake(config, hashes_of(config, known)).has("documents"):
        return [*config.corpus.sources]
    recorded = {key for each in generations_of(config, known) for key in each}
    return [source for source in config.corpus.sources if key_of(source) not in recorded]


def passed_checks(config: Config) -> dict[str, str]:
    """A hash of what each recorded SAE was checked against when it was last loaded."""
    return {name: entry["passed"] for name, entry in read_record(config)["saes"].items() if "passed" in entry}


def hashes_of(config: Config, known: dict[str, Any]) -> SourceHashes:
    """The hashes of the config's sources, as far as they are recorded."""
    first, *later = generations_of(config, known)
    others = {key for each in later for key in each} | set(waiting_keys(config, known))
    keys = [key for key in map(key_of, config.corpus.sources) if key in first or key not in others]
    corpus = [reading_of(key) + first.get(key, {}).get("digest", "") for key in keys]
    generations = [digest_of(reading_of(key) + each[key]["digest"] for key in each) for each in later]
    saes = {sae.name: known["saes"].get(sae.name, {}).get("digest", "") for sae in config.saes}
    return SourceHashes(digest_of(corpus), saes, known.get("dtype"), tuple(generations))


def read_record(config: Config) -> dict[str, Any]:
    """The record, with at least `corpus` and `saes`. Raises LakeError if the file is damaged."""
    path = Lake(config, SourceHashes()).fetched(config.lake_folder / SOURCES_FILE)
    if not path.exists():
        return {"corpus": {}, "saes": {}}
    try:
        known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LakeError(f"'{path}' is not JSON ({error}); restore it, or start a new lake") from None
    if not isinstance(known, dict) or not {"corpus", "saes"} <= known.keys():
        raise LakeError(f"'{path}' does not record what the lake was made from; restore it, or start a new lake")
    return known


def generations_of(config: Config, known: dict[str, Any]) -> list[dict[str, Entry]]:
    """What each generation has of the config's sources, by their keys; of those that have none only the first."""
    keys = [key_of(source) for source in config.corpus.sources]
    all_of_them = (known["corpus"], *known.get("later", ()))
    found = [{key: each[key] for key in keys if key in each} for each in all_of_them]
    return [each for each in found if each] or [{}]


def waiting_keys(config: Config, known: dict[str, Any]) -> list[str]:
    """The keys of sources that are not recorded, and are named after all that are."""
    keys = [key_of(source) for source in config.corpus.sources]
    known_keys = {key for each in generations_of(config, known) for key in each}
    recorded = [number for number, key in enumerate(keys) if key in known_keys]
    return keys[recorded[-1] + 1 :] if recorded else []


_LATER_FIELDS = ("messages_field", "tokens_field")
"""Keys that came later: left out where nothing is said, so that lakes made before keep their rows."""


def key_of(source: TextSource) -> str:
    """What a source is recorded under: all that the config says of it."""
    said = source.model_dump(mode="json")
    return json.dumps({key: said[key] for key in said if key not in _LATER_FIELDS or said[key]}, sort_keys=True)


def reading_of(key: str) -> str:
    """How a source is read, regardless of its location: its fields and limits."""
    said: dict[str, Any] = json.loads(key)
    where = {"path", "dataset", "revision"}
    return json.dumps({key: value for key, value in said.items() if key not in where}, sort_keys=True)


def has_changed(config: Config, source: TextSource, file: str = "") -> CorpusError:
    """The error for a source whose content has changed since it was recorded."""
    where = f" (file '{file}')" if file else ""
    return CorpusError(
        f"corpus source '{source_name(source)}' has changed since lake '{config.lake_folder}' was made from "
        f"it{where}; give the experiment another name, or put the old files back"
    )
