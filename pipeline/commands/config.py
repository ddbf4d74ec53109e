"""`make config FROM=…`: an experiment's config, from an SAE's own files, path and repository."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import yaml

from pipeline.commands.names import experiment_name, sae_names
from pipeline.commands.spelled import spelled
from pipeline.config import CorpusConfig
from pipeline.errors import ConfigError
from pipeline.models.load import positions_at_hand
from pipeline.sae.baselines import PREFIX as BASELINE_PREFIX
from pipeline.sae.finding import saes_inside
from pipeline.sae.load import load_with_training
from pipeline.sae.training import Fact, Training, training_in
from pipeline.shipped import find
from pipeline.show.terminal import plain_console
from pipeline.texts.delphi import Cache, Folder, cache_settings, find_cache, splits_of

FOLDER = Path("config")
"""Where configs are written, relative to the working directory."""

_HERE = Path(__file__).parent
_SHORTEST_CONTEXT, _LONGEST_CONTEXT = 32, 65_536


class _Sae(NamedTuple):
    """What was found out about an SAE."""

    source: str | None
    hookpoint: Fact[str] | None
    n_features: int
    kind: str
    training: Training

    @property
    def named(self) -> str:
        """The line of its source; empty if a cache has its firings."""
        return f"    source: {_scalar(self.source)}\n" if self.source else ""

    @property
    def accepted(self) -> str:
        """The line that a baseline needs, because it reconstructs nothing."""
        return "\n    fit: accept" if (self.source or "").startswith(BASELINE_PREFIX) else ""


class _Line(NamedTuple):
    """A key of the config with its value, None if not known, and where the value comes from."""

    key: str
    value: Any
    origin: str
    is_guess: bool = False

    @property
    def comment(self) -> str:
        """Where the value comes from, in words."""
        return f"guessed: {self.origin}" if self.is_guess else self.origin

    def __str__(self) -> str:
        return f"{_scalar(self.value)}  # {self.comment}".lstrip()


_TEXTS = _Line("corpus.sources", "python", "the texts of this Python installation; name your own in the file")


class _Content(NamedTuple):
    """What a config says about some SAEs; the corpus is their cache, if there is one."""

    saes: Sequence[_Sae]
    names: Sequence[str]
    model: _Line
    hookpoints: Sequence[_Line]
    context: _Line
    bos: _Line
    cache: Cache | None

    @property
    def lines(self) -> list[_Line]:
        """The lines to be checked by a person."""
        return [self.model, *self.hookpoints, self.context, *([] if self.cache else [self.bos, _TEXTS])]


def split_sources(text: str) -> list[str]:
    """The SAEs that a text names, separated by spaces. A path with spaces must be quoted, or be the only one."""
    if text and find(text).exists():
        return [text]
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"FROM cannot be parsed ({error}): {text}") from None


def write_config(sources: Sequence[str], name: str | None = None) -> Path:
    """Write `config/<name>.yaml` for SAEs of one subject model; print its values and their origins.

    Args:
        sources: Each a folder, a file, `hf://OWNER/REPO[@REVISION]/PATH` or `saelens://RELEASE/ID`; a folder of
            such folders, such as a training run, for all of them; or one folder of delphi's cache: `latents`, or
            the folder in it of one SAE.
        name: The experiment's name; by default derived from the sources.

    Raises:
        ConfigError: No SAE is named, the file already exists, or the SAEs are of several subject models.
        SaeError: An SAE cannot be fetched or read.
        CorpusError: delphi's cache cannot be read.
    """
    sources = list(dict.fromkeys(sources))
    if not sources:
        raise ConfigError(
            f"no SAE; write {spelled('make config FROM=', 'latentlake config ')}hf://OWNER/REPO/PATH, or a folder"
        )
    name = name or experiment_name(sources)
    path = _free_path(name)
    cache = find_cache(find(sources[0])) if len(sources) == 1 else None
    if cache is None:
        sources = [each for source in sources for each in saes_inside(source) or [source]]
    saes = [_look_at_cached(folder) for folder in cache.saes] if cache else [_look_at(each) for each in sources]
    content = _content_of(saes, cache)
    _write(path, _text(name, content))
    _print(path, content)
    return path


def _free_path(name: str) -> Path:
    """Where the config of an experiment goes. Raises ConfigError for a name that cannot be used, or is taken."""
    if not re.fullmatch(r"[A-Za-z0-9_]+", name):
        raise ConfigError(f"'{name}' cannot be an experiment's name; use letters, digits and underscores")
    path = FOLDER / f"{name}.yaml"
    if path.exists():
        raise _already_exists(path)
    return path


def _content_of(saes: Sequence[_Sae], cache: Cache | None) -> _Content:
    """What is known about SAEs of one subject model. Raises ConfigError if they are of several."""
    names = sae_names(
        [sae.source or "" for sae in saes], [sae.hookpoint.value if sae.hookpoint else "" for sae in saes]
    )
    hookpoints = [_hookpoint_line(sae, name) for sae, name in zip(saes, names, strict=True)]
    model = _model_line(saes)
    positions = positions_at_hand(model.value) if model.value else None
    context = _context_line(saes, positions.n if positions else _LONGEST_CONTEXT)
    return _Content(saes, names, model, hookpoints, context, _bos_line(saes), cache)


def _text(name: str, content: _Content) -> str:
    """The config file."""
    cache = content.cache
    corpus = _fill(
        "corpus_cache.txt" if cache else "corpus_texts.txt",
        path=_scalar(str(cache.folder)) if cache else "",
        context_length=content.context,
        prepend_bos=content.bos,
    )
    saes = (
        f"  - name: {_scalar(own)}\n{sae.named}    hookpoint: {line}\n"
        f"    n_features: {sae.n_features}  # {sae.kind}{sae.accepted}"
        for sae, own, line in zip(content.saes, content.names, content.hookpoints, strict=True)
    )
    return _fill(
        "experiment.txt",
        whose="their" if len(content.saes) > 1 else "its",
        name=name,
        model=content.model,
        saes="\n".join(saes),
        corpus=corpus.rstrip(),
    )


def _write(path: Path, text: str) -> None:
    """Write a file that does not exist yet, even if another process tries to write it, too."""
    FOLDER.mkdir(exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise _already_exists(path) from None


def _fill(template: str, **values: object) -> str:
    return Template((_HERE / template).read_text(encoding="utf-8")).substitute(values)


def _already_exists(path: Path) -> ConfigError:
    another = f"choose another name with {spelled('AS=', '--name ')}NAME, or remove it"
    return ConfigError(f"'{path}' already exists and was not changed; {another}")


def _look_at(source: str) -> _Sae:
    """Load one SAE, and keep what a config needs."""
    coder, training = load_with_training(source)
    named, hookpoint = coder.hookpoint, None
    if named is not None:
        has_layer = re.search(r"\d|embed|wte", named) is not None
        origin = "from the SAE's files or path" if has_layer else "its folder's name, which names no layer"
        hookpoint = Fact(named, origin, is_guess=not has_layer)
    words = [coder.format, coder.architecture, "transcoder" if coder.transcodes else ""]
    l0 = f"L0 {coder.declared_l0:g}" if coder.declared_l0 else ""
    kind = ", ".join(dict.fromkeys(word for word in (*words, l0) if word))
    return _Sae(source, hookpoint, coder.n_features, kind, training)


def _look_at_cached(folder: Folder) -> _Sae:
    """The same for an SAE whose firings are in delphi's cache, from the cache's files and `config.json`."""
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
        why = "neither files nor path name it; fill in its name on the hub, or its folder"
        return _Line("subject.model", None, f"not known: {why}")
    models = {fact.value: source for source, fact in reversed(found)}
    if len(models) > 1:
        named = " and ".join(f"'{model}' ({source})" for model, source in reversed(models.items()))
        raise ConfigError(f"an experiment has one subject model, but these SAEs are of {named}; make one for each")
    return _Line("subject.model", *found[0][1])


def _context_line(saes: Sequence[_Sae], n_positions: int) -> _Line:
    """The shortest context length of the SAEs, within latentlake's limits and the model's positions."""
    key, facts = "corpus.context_length", [fact for sae in saes if (fact := sae.training.context_length)]
    default = Fact(CorpusConfig.model_fields["context_length"].default, "not known; latentlake's default")
    shortest = min(facts, default=default)
    value = min(max(shortest.value, _SHORTEST_CONTEXT), _LONGEST_CONTEXT)
    note = "" if value == shortest.value else f", {shortest.value}, which latentlake does not support"
    note += "; the shortest of these SAEs" if len({fact.value for fact in facts}) > 1 else ""
    if value > n_positions:
        note += f"; {value} is more than the model's {n_positions} positions"
    return _Line(key, min(value, n_positions), shortest.origin + note, shortest.is_guess)


def _bos_line(saes: Sequence[_Sae]) -> _Line:
    """Whether the first SAE for which it is known was trained with a BOS token."""
    key, facts = "corpus.prepend_bos", [fact for sae in saes if (fact := sae.training.prepend_bos)]
    if not facts:
        return _Line(key, False, "not known; most SAEs of models with a BOS token want true")
    note = "; the opposite for another of these SAEs" if len({fact.value for fact in facts}) > 1 else ""
    return _Line(key, facts[0].value, facts[0].origin + note, facts[0].is_guess)


def _hookpoint_line(sae: _Sae, name: str) -> _Line:
    key = f"hookpoint of {name}"
    if sae.hookpoint is None:
        return _Line(key, None, "not known: neither files nor path name it; fill it in, such as resid_post.9")
    return _Line(key, *sae.hookpoint)


def _scalar(value: Any) -> str:
    """A value as YAML on one line; empty for None, so that the key has no value."""
    if value is None:
        return ""
    return yaml.safe_dump(value, width=10_000, allow_unicode=True).removesuffix("...\n").strip()


def _print(path: Path, content: _Content) -> None:
    console, lines = plain_console(), content.lines
    kinds = "; ".join(dict.fromkeys(sae.kind for sae in content.saes))
    console.print(f"wrote {path} for: {kinds}", soft_wrap=True)
    for line in lines:
        style = "bold red" if line.value is None else "yellow" if line.is_guess else ""
        console.print(f"{line.key}: {_scalar(line.value)}\n    {line.comment}", style=style, soft_wrap=True)
    if missing := [line.key for line in lines if line.value is None]:
        console.print(f"Fill in {' and '.join(missing)}, then:")
    for command in ("estimate", "run"):
        whole = spelled(f"make {command} CONFIG={path}", f"latentlake {command} {path}")
        console.print(whole, soft_wrap=True)
