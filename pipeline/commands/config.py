"""`make config FROM=…`: an experiment's file from what an SAE's own files, path and repository tell."""

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import yaml
from rich.console import Console
from rich.text import Text

from pipeline.config import CorpusConfig
from pipeline.errors import ConfigError
from pipeline.sae.baselines import PREFIX as BASELINE_PREFIX
from pipeline.sae.load import load_with_training, saes_inside
from pipeline.sae.sources import HUB_PREFIX, REGISTRY_PREFIX, split_hub
from pipeline.sae.training import Fact, Training, training_in
from pipeline.shipped import find
from pipeline.texts.delphi import Folder, cache_settings, find_cache, splits_of

FOLDER = Path("config")
"""Where configs are written, below the working directory."""

_HERE = Path(__file__).parent
_SHORTEST_CONTEXT, _LONGEST_CONTEXT = 32, 65_536
_LONGEST_NAME = 90
"""A name may have 100 characters, and numbers are added to names that are alike; some files' have 100 alone."""

_WEIGHTS = (".sae.pt", ".pt", ".pth", ".npz", ".safetensors")


class _Sae(NamedTuple):
    """An SAE as it was found."""

    source: str | None
    hookpoint: Fact[str] | None
    n_features: int
    kind: str
    training: Training

    @property
    def named(self) -> str:
        """The line of its source; none where a cache has its firings."""
        return f"    source: {_scalar(self.source)}\n" if self.source else ""

    @property
    def accepted(self) -> str:
        """What a baseline needs: it reconstructs nothing."""
        return "\n    fit: accept" if (self.source or "").startswith(BASELINE_PREFIX) else ""


class _Line(NamedTuple):
    """A key of the config with what it is given, and where that is from; without a value it is left empty."""

    key: str
    value: Any
    origin: str
    is_guess: bool = False

    @property
    def comment(self) -> str:
        """In words: where its value is from."""
        return f"guessed: {self.origin}" if self.is_guess else self.origin

    def __str__(self) -> str:
        return f"{_scalar(self.value)}  # {self.comment}".lstrip()


def split_sources(text: str) -> list[str]:
    """The SAEs that a text names, separated by spaces; a path with spaces stands in quotes, or alone."""
    if text and find(text).exists():
        return [text]
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"FROM cannot be read ({error}): {text}") from None


def write_config(sources: Sequence[str], name: str | None = None) -> Path:
    """Write `config/<name>.yaml` for SAEs of one subject model, and print what it says and why; its path.

    Args:
        sources: Each a folder, a file, `hf://OWNER/REPO[@REVISION]/PATH` or `saelens://RELEASE/ID`; a folder of
            such folders, such as a training run, for all of them; or one folder of delphi's cache: `latents`, or
            what is in it for one SAE.
        name: Of the experiment; made of the sources where it is left out.

    Raises:
        ConfigError: No SAE is named, the file is there already, or the SAEs are of several subject models.
        SaeError: An SAE cannot be fetched or read.
        CorpusError: delphi's cache cannot be read.
    """
    sources = list(dict.fromkeys(sources))
    if not sources:
        raise ConfigError("no SAE; write make config FROM=hf://OWNER/REPO/PATH, or latentlake config FOLDER")
    name = name or _name_of(sources)
    if not re.fullmatch(r"[A-Za-z0-9_]+", name):
        raise ConfigError(f"an experiment cannot be named '{name}'; use letters, digits and underscores")
    path = FOLDER / f"{name}.yaml"
    if path.exists():
        raise _already_there(path)
    cache = find_cache(find(sources[0])) if len(sources) == 1 else None
    if cache is None:
        sources = [each for source in sources for each in saes_inside(source) or [source]]
    saes = [_look_at_cached(folder) for folder in cache.saes] if cache else [_look_at(each) for each in sources]
    model, context, bos, names = _model_line(saes), _context_line(saes), _bos_line(saes), _sae_names(saes)
    hookpoints = [_hookpoint_line(sae, own) for sae, own in zip(saes, names, strict=True)]
    corpus = _fill(
        "corpus_cache.txt" if cache else "corpus_texts.txt",
        path=_scalar(str(cache.folder)) if cache else "",
        context_length=context,
        prepend_bos=bos,
    )
    text = _fill(
        "experiment.txt",
        whose="their" if len(saes) > 1 else "its",
        name=name,
        model=model,
        saes="\n".join(
            f"  - name: {_scalar(own)}\n{sae.named}    hookpoint: {line}\n"
            f"    n_features: {sae.n_features}  # {sae.kind}{sae.accepted}"
            for sae, own, line in zip(saes, names, hookpoints, strict=True)
        ),
        corpus=corpus.rstrip(),
    )
    FOLDER.mkdir(exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise _already_there(path) from None
    _print(path, saes, [model, *hookpoints, context, *([] if cache else [bos])])
    return path


def _fill(template: str, **values: object) -> str:
    return Template((_HERE / template).read_text(encoding="utf-8")).substitute(values)


def _already_there(path: Path) -> ConfigError:
    return ConfigError(f"'{path}' is there already and is kept; name another by AS=NAME (--name), or remove it")


def _look_at(source: str) -> _Sae:
    """Load one SAE, and keep of it what a config needs."""
    coder, training = load_with_training(source)
    place = coder.hookpoint
    hookpoint = None
    if place is not None:
        has_layer = re.search(r"\d|embed|wte", place) is not None
        origin = "so named by the SAE's files or path" if has_layer else "its folder's name, which says no layer"
        hookpoint = Fact(place, origin, is_guess=not has_layer)
    words = [coder.format, coder.architecture, "transcoder" if coder.transcodes else ""]
    l0 = f"L0 {coder.declared_l0:g}" if coder.declared_l0 else ""
    kind = ", ".join(dict.fromkeys(word for word in (*words, l0) if word))
    return _Sae(source, hookpoint, coder.n_features, kind, training)


def _look_at_cached(folder: Folder) -> _Sae:
    """The same for an SAE whose firings are in a cache, from its files and its `config.json`."""
    splits = splits_of(folder)
    _, length = splits[0].shape
    training = training_in(cache_settings(folder), "the cache's config.json", model="model_name")
    training = replace(training, context_length=Fact(length, "the length of the cache's rows"))
    hookpoint = Fact(folder.name, "the folder's name in the cache")
    return _Sae(None, hookpoint, splits[-1].end, "delphi's cache", training)


def _model_line(saes: Sequence[_Sae]) -> _Line:
    """The one subject model. Raises ConfigError if the SAEs are of several."""
    found = [(sae.source or "a cache", sae.training.model) for sae in saes if sae.training.model is not None]
    if not found:
        why = "neither files nor path name it; write its name on the hub, or its folder"
        return _Line("subject.model", None, f"not known: {why}")
    models = {fact.value: source for source, fact in reversed(found)}
    if len(models) > 1:
        named = " and ".join(f"'{model}' ({source})" for model, source in reversed(models.items()))
        raise ConfigError(f"an experiment has one subject model, but these SAEs are of {named}; make one for each")
    return _Line("subject.model", *found[0][1])


def _context_line(saes: Sequence[_Sae]) -> _Line:
    """The shortest context length of the SAEs, within what latentlake can cut."""
    key, facts = "corpus.context_length", [fact for sae in saes if (fact := sae.training.context_length)]
    if not facts:
        return _Line(key, CorpusConfig.model_fields["context_length"].default, "not known; latentlake's default")
    shortest = min(facts)
    value = min(max(shortest.value, _SHORTEST_CONTEXT), _LONGEST_CONTEXT)
    note = "" if value == shortest.value else f", {shortest.value}, which latentlake does not have"
    note += "; the shortest of these SAEs" if len({fact.value for fact in facts}) > 1 else ""
    return _Line(key, value, shortest.origin + note, shortest.is_guess)


def _bos_line(saes: Sequence[_Sae]) -> _Line:
    """Whether the first SAE of which it is known had a BOS."""
    key, facts = "corpus.prepend_bos", [fact for sae in saes if (fact := sae.training.prepend_bos)]
    if not facts:
        return _Line(key, False, "not known; most SAEs of models with a BOS token want true")
    note = "; of another of these SAEs the opposite" if len({fact.value for fact in facts}) > 1 else ""
    return _Line(key, facts[0].value, facts[0].origin + note, facts[0].is_guess)


def _hookpoint_line(sae: _Sae, name: str) -> _Line:
    key = f"hookpoint of {name}"
    if sae.hookpoint is None:
        return _Line(key, None, "not known: neither files nor path name it; write one, such as resid_post.9")
    return _Line(key, *sae.hookpoint)


def _sae_names(saes: Sequence[_Sae]) -> list[str]:
    """The hookpoint of each, where these differ; else what differs in the sources."""
    places = [sae.hookpoint.value if sae.hookpoint else "" for sae in saes]
    if all(places) and len(set(places)) == len(places):
        names = [_slug(place, "-") for place in places]
    else:
        parts = [_parts(sae.source or "") for sae in saes]
        shared = len(_shared(parts)) if len(parts) > 1 else 0
        names = [_slug("-".join(each[shared:]), "-") for each in parts]
    alike = Counter(name.lower() for name in names)
    return [name if alike[name.lower()] == 1 else f"{name}-{number}" for number, name in enumerate(names, 1)]


def _name_of(sources: Sequence[str]) -> str:
    """A name for an experiment: what its sources have in common, and their number."""
    parts = [_parts(source) for source in sources]
    if len(parts) == 1:
        return _slug("_".join(parts[0]), "_")
    return _slug("_".join([*(_shared(parts) or parts[0][:1]), f"{len(parts)}_saes"]), "_")


def _shared(parts: Sequence[Sequence[str]]) -> list[str]:
    """The words with which all begin."""
    return [words[0] for words in takewhile(lambda words: len(set(words)) == 1, zip(*parts, strict=False))]


def _parts(source: str) -> list[str]:
    """The words of a source: repository or release and path, or the last folders of a local path."""
    for ending in _WEIGHTS:
        source = source.removesuffix(ending)
    if source.startswith(HUB_PREFIX):
        repository, _, path = split_hub(source)
        return [repository.partition("/")[2], *filter(None, path.split("/"))]
    if source.startswith(REGISTRY_PREFIX):
        return source.removeprefix(REGISTRY_PREFIX).split("/")
    return list(Path(source).expanduser().absolute().parts[-3:])


def _slug(text: str, between: str) -> str:
    allowed = "A-Za-z0-9" if between == "_" else "A-Za-z0-9._"
    return re.sub(rf"[^{allowed}]+", between, text).strip("-._")[:_LONGEST_NAME].rstrip("-._") or "sae"


def _scalar(value: Any) -> str:
    """A value as YAML writes it on one line; nothing for None, which the config then lacks."""
    if value is None:
        return ""
    return yaml.safe_dump(value, width=10_000, allow_unicode=True).removesuffix("...\n").strip()


def _print(path: Path, saes: Sequence[_Sae], lines: Sequence[_Line]) -> None:
    console = Console()
    kinds = "; ".join(dict.fromkeys(sae.kind for sae in saes))
    console.print(f"wrote {path} for: {kinds}", markup=False, soft_wrap=True)
    for line in lines:
        style = "bold red" if line.value is None else "yellow" if line.is_guess else ""
        console.print(Text(f"{line.key}: {_scalar(line.value)}\n    {line.comment}", style=style), soft_wrap=True)
    if missing := [line.key for line in lines if line.value is None]:
        console.print(f"Fill in {' and '.join(missing)}, then:", markup=False)
    console.print(f"make estimate CONFIG={path}\nmake run CONFIG={path}", markup=False, soft_wrap=True)
