"""The texts of a lake's corpus, as fixed, and documents added since."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.config import Config, DelphiRows, FileTexts, HubTexts, PythonTexts
from pipeline.errors import CorpusError
from pipeline.sources.contents import digest_of, files_to_read, has_whole_line, is_open, look
from pipeline.sources.python_copies import copied_texts
from pipeline.sources.record import generations_of, has_changed, key_of, read_record, waiting_keys
from pipeline.texts.readers import read_texts, source_name
from pipeline.texts.text import Text


def corpus_texts(
    config: Config, leave_out: Callable[[CorpusError], None] = lambda error: None, generation: int = 0
) -> Iterator[Text]:
    """The texts of a generation's sources in order, as fixed by the lake; before its first run, as they are.

    What cannot be read is passed to `leave_out`. Raises CorpusError for it if corpus.unreadable is `stop`.
    """
    without = None if config.corpus.unreadable == "stop" else leave_out
    known = read_record(config)
    generations, waiting = generations_of(config, known), waiting_keys(config, known)
    for source in config.corpus.sources:
        key = key_of(source)
        if (entry := generations[generation].get(key)) is None:
            if not generation and key not in waiting and not any(key in each for each in generations):
                yield from read_texts(source, without)
        elif isinstance(source, PythonTexts):
            yield from copied_texts(config, entry["digest"])
        elif isinstance(source, DelphiRows):
            yield from read_texts(source)
        elif isinstance(source, FileTexts):
            entries = [each[key] for each in generations if key in each]
            yield from read_texts(source, without, files_to_read(source, entries, entry))
        else:
            revision = entry["digest"] if not Path(source.dataset).exists() else None
            yield from read_texts(source.model_copy(update={"revision": revision}), without)


class New(NamedTuple):
    """What was added to the recorded documents, as shown by a listing.

    Attributes:
        names: Files and sources that have something new.
        times: When each added local file was last changed, in seconds since 1970.
        stamp: A hash of their names and sizes.
        unasked: Sources that cannot be checked without reading them: datasets on the hub.
    """

    names: Sequence[str]
    times: Sequence[float]
    stamp: str
    unasked: Sequence[str]


def new_documents(config: Config) -> New:
    """Whether documents were added to the recorded ones, by names and sizes of files.

    Of these, only those of lines that have grown are read, up to the first whole line.

    Raises CorpusError if a recorded file is gone or cannot be listed.
    """
    known = read_record(config)
    sizes: dict[str, int] = {}
    unasked: list[str] = []
    times: list[float] = []
    for source in config.corpus.sources:
        key, name = key_of(source), source_name(source)
        entries = [each[key] for each in generations_of(config, known) if key in each]
        if not entries:
            sizes[name] = 0
        elif isinstance(source, FileTexts):
            seen = look(source, entries)
            if seen.gone:
                raise has_changed(config, source, seen.gone[0])
            if is_open(source):
                sizes |= {file.location: 0 for file in seen.added}
                longer = [path for path, end in seen.longer.items() if has_whole_line(path, end)]
                sizes |= {str(path): path.stat().st_size for path in longer}
                local = [Path(file.location) for file in seen.added if file.filesystem is None]
                times += [path.stat().st_mtime for path in local]
        elif isinstance(source, HubTexts):
            unasked.append(name)
    return New(sorted(sizes), times, digest_of(f"{name} {sizes[name]}" for name in sorted(sizes)), unasked)
