"""The experiment with planted features: another experiment's scorers and endpoints, on a model made for it."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from pipeline.config import Config, SaeConfig, ScoringConfig, SubjectConfig, load_config
from pipeline.config.file import first_problem
from pipeline.corpus.documents import read_documents
from pipeline.errors import ConfigError, LatentlakeError
from pipeline.explainers.base import Explanation
from pipeline.explainers.write import explanation_row
from pipeline.lake import Lake
from pipeline.make_table import make_table
from pipeline.models.load import find_files, load_subject_config, load_tokenizer
from pipeline.models.token_bytes import token_bytes
from pipeline.planting.model import CONTEXT_LENGTH, HOOKPOINT, write_model, write_sae
from pipeline.planting.plants import (
    FAULTS,
    KINDS,
    Aspect,
    Corpus,
    Kind,
    Plant,
    draw_plants,
    is_applicable,
    worth,
)
from pipeline.plugins import Declared, find_plugin, find_plugins
from pipeline.scorers.write import write_predictions
from pipeline.shipped import find
from pipeline.sources import fix_sources, recorded_lake
from pipeline.tables import TABLES
from pipeline.tables.inputs import is_made
from pipeline.tables.stages import BATCH_TABLES, STAGES

_DEMO = Path("config/demo.yaml")
_EXPLAINER = "default"
_ONE_BATCH = 1_000_000
"""Features per batch: more than there ever are plants, so that a lake keeps it if their number changes."""


_WORTHS = pa.schema(
    [("scorer", pa.string()), ("kind", pa.string()), ("fault", pa.string()), ("worth", pa.int32())]
)


class Planted(NamedTuple):
    """The experiment, what is planted in it, and the scorers that cannot run here, with the reason."""

    config: Config
    plants: Sequence[Plant]
    left_out: dict[str, str]


def plant_experiment(
    config: Config, per_kind: int, n_questions: int, scorers: Sequence[str] | None = None
) -> Planted:
    """Draw plants from the embedded corpus, and make the model and the experiment that contain them.

    The experiment is named `<name>_scorers`, and its lake lies beside the given one's. The models, endpoints and
    prices of scoring are the given config's. Of the scorers (None: all that are found), those that can run are
    asked.

    Raises LatentlakeError if the corpus or the tokenizer of the embedded default cannot be read, or a scorer is
    unknown, or none of them can run.
    """
    names = tuple(find_plugins("scorers")) if scorers is None else tuple(scorers)
    scoring, unread = _read_by_own_subject(config, _scoring(config.scoring, n_questions, names), names)
    text = _text_config(config)
    folder, plants = _plant(text, per_kind)
    planted = _planted_config(text, folder, len(plants), scoring)
    able, unable = _able_scorers(planted, [name for name in names if name not in unread])
    if not able:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in (unread | unable).items())
        raise ConfigError(f"no scorer can judge planted features; {reasons}")
    judged = [feature for feature, plant in enumerate(plants) if any(_judges(name, plant.kind) for name in able)]
    own = {
        "scoring": planted.scoring.model_copy(update={"scorers": able}),
        "selection": planted.selection.model_copy(update={"where": f"feature in {judged}"}),
    }
    return Planted(planted.model_copy(update=own), plants, unread | unable)


def planted_worths(scorers: Iterable[str]) -> pa.Table:
    """One row per scorer, kind of plant that it can judge, and fault: what such an explanation is worth to it."""
    rows = [
        {"scorer": name, "kind": kind, "fault": fault, "worth": worth(judged_by(name), fault)}
        for name in scorers
        for kind in KINDS
        if _judges(name, kind)
        for fault in FAULTS
    ]
    return pa.Table.from_pylist(rows, _WORTHS)


def judged_by(scorer: str) -> Aspect:
    """What a scorer judges explanations by."""
    return Declared.by(find_plugin("scorers", scorer).settings).judges


def _judges(scorer: str, kind: Kind) -> bool:
    declared = Declared.by(find_plugin("scorers", scorer).settings)
    return is_applicable(kind, declared.judges, declared.sees_positions)


def _text_config(config: Config) -> Config:
    """The experiment before planting: the demo's text and tokenizer, and a lake beside the given one's."""
    demo = load_config(find(_DEMO))
    selection = {"batch_size": _ONE_BATCH, "quotas": None, "features": None, "where": None}
    own = {
        "name": f"{config.name}_scorers",
        "subject": demo.subject,
        "corpus": demo.corpus.model_copy(update={"context_length": CONTEXT_LENGTH}),
        "selection": config.selection.model_copy(update=selection),
        "saes": (SaeConfig(name="none", source="baseline://neurons?width=1&k=1", hookpoint="", n_features=1),),
    }
    return config.model_copy(update=own)


def _planted_config(text: Config, folder: Path, n_plants: int, scoring: ScoringConfig) -> Config:
    """The experiment with the planted model and its SAE."""
    sae = SaeConfig(
        name=f"planted-{folder.name}",
        source=str(folder / "sae"),
        hookpoint=HOOKPOINT,
        n_features=n_plants,
        fit="accept",
    )
    own = {
        "subject": text.subject.model_copy(update={"model": str(folder / "model"), "dtype": "float32"}),
        "saes": (sae,),
        "explaining": text.explaining.model_copy(update={"explainers": (_EXPLAINER,), "controls": 0}),
        "scoring": scoring,
    }
    return text.model_copy(update=own)


def _read_by_own_subject(
    config: Config, scoring: ScoringConfig, names: Iterable[str]
) -> tuple[ScoringConfig, dict[str, str]]:
    """Scoring that takes losses from the given config's own subject, and why some scorers that need it cannot run.

    The planted model's losses would be noise: its weights are set by hand, and it looks back only one token.
    """
    sections = {name: getattr(scoring, name.partition("@")[0]) for name in names}
    readers = {name: own for name, own in sections.items() if getattr(own, "model", None) == "subject"}
    if not readers:
        return scoring, {}
    try:
        model = _name_of(config.subject)
    except LatentlakeError as error:
        return scoring, dict.fromkeys(readers, str(error))
    read = {name.partition("@")[0]: own.model_copy(update={"model": model}) for name, own in readers.items()}
    return scoring.model_copy(update=read), {}


def _name_of(subject: SubjectConfig) -> str:
    """The name by which a scorer loads a subject model. Raises ConfigError if the name alone is not enough.

    Raises SubjectError if the model is missing.
    """
    found = find_files(subject)
    if found.revision is not None:
        raise ConfigError(
            f"subject '{subject.model}' has a revision, which a scorer's model cannot have; name a model in "
            "scoring.surprisal.model and scoring.intervention_surprisal.model"
        )
    load_tokenizer(subject)
    load_subject_config(subject)
    return subject.model if subject.gguf_file is None else found.name


class JudgedPlants(NamedTuple):
    """A lake with scores, its explanations (`write_planted_explanations`), and the scorers that cannot run."""

    lake: Lake
    explanations: pa.Table
    left_out: dict[str, str]


def score_plants(config: Config, lake: Lake, planted: Planted) -> JudgedPlants:
    """Have the scorers judge the plants' explanations, with the results of an experiment's pilot.

    All tables before `examples` must exist.
    """
    [sae] = lake.config.sae_names
    carry_pilot(config, lake, sae)
    for table in BATCH_TABLES:
        if not STAGES[table].plugins and is_made(lake.config, table):
            STAGES[table].write(lake, sae=sae, batch=0)
    explanations = write_planted_explanations(lake, sae, planted.plants)
    write_predictions(lake, sae, 0)
    make_table(lake, "scores", sae=sae, batch=0)
    return JudgedPlants(lake, explanations, planted.left_out)


def carry_pilot(config: Config, lake: Lake, sae: str) -> None:
    """Copy what an experiment's pilot determined about its scorers into the lake of its planted features.

    Scorers are then judged as the run uses them: with its thresholds and forms of prompts. Of several SAEs, the
    first that has had its pilot counts.
    """
    given = recorded_lake(config)
    piloted = next((each for each in config.sae_names if given.has("scorer_rhos", sae=each)), None)
    if piloted is None:
        return
    piloted_rows = {row["scorer"]: {**row, "sae": sae} for row in _pilot_rows(given, piloted)}
    own = {row["scorer"]: piloted_rows.get(row["scorer"], row) for row in _pilot_rows(lake, sae)}
    rows = pa.Table.from_pylist([*own.values()], TABLES["scorer_rhos"].schema)
    lake.write_parts("scorer_rhos", rows, sae=sae)


def _pilot_rows(lake: Lake, sae: str) -> list[dict[str, Any]]:
    return [row for path in lake.paths("scorer_rhos", sae=sae) for row in pq.read_table(path).to_pylist()]


def _scoring(scoring: ScoringConfig, n_questions: int, names: Sequence[str]) -> ScoringConfig:
    """A section of these scorers with at most n_questions per answer (yes, no), in one round, without a pilot.

    Raises ConfigError if there is no such scorer, or no such number of questions.
    """
    n_noes = None if scoring.n_no_questions is None else min(scoring.n_no_questions, n_questions)
    own = {
        "scorers": names,
        "n_questions": n_questions,
        "n_no_questions": n_noes,
        "target_half_width": None,
        "max_features": None,
        "pilot_features": 0,
    }
    try:
        # model_copy would skip the config's validation.
        return type(scoring).model_validate({**dict(scoring), **own})
    except ValidationError as error:
        raise ConfigError(first_problem(error, "scoring")) from None


def write_planted_explanations(lake: Lake, sae: str, plants: Sequence[Plant]) -> pa.Table:
    """Write the plants' explanations that some scorer can judge as the table `explanations`.

    Returns one row per explanation: explanation_id, feature, kind, fault.
    """
    rows, what = [], []
    judged = {kind for kind in KINDS if any(_judges(name, kind) for name in lake.config.scoring.scorers)}
    for feature, plant in enumerate(plants):
        if plant.kind not in judged:
            continue
        for draw, (fault, words) in enumerate(plant.explanations.items()):
            row = explanation_row(sae, _EXPLAINER, Explanation(feature, words, draw=draw))
            rows.append({**row, "generation": lake.generation})
            key = row["explanation_id"]
            what.append({"explanation_id": key, "feature": feature, "kind": plant.kind, "fault": fault})
    table = pa.Table.from_pylist(rows, TABLES["explanations"].schema)
    lake.write_parts("explanations", table, sae=sae, batch=0)
    return pa.Table.from_pylist(what)


def _plant(config: Config, per_kind: int) -> tuple[Path, list[Plant]]:
    """Draw the plants, and save their model and SAE unless these exist; returns the folder and the plants."""
    lake = Lake(config, fix_sources(config))
    with lake.scratch("corpus") as scratch:
        read_documents(config, scratch / "read.parquet", config.corpus.max_tokens)
        documents = pq.read_table(scratch / "read.parquet", columns=["token_ids"])["token_ids"].to_pylist()
    tokenizer = load_tokenizer(config.subject)
    spell = token_bytes(tokenizer)
    texts = [spell(token).decode("utf-8", "backslashreplace") for token in range(len(tokenizer))]
    corpus = Corpus(documents, texts)
    plants = draw_plants(corpus, per_kind, config.seed)
    digest = hashlib.sha256(repr(plants).encode()).hexdigest()[:12]
    folder = lake.root / "planted" / digest
    if not (lake.fetched(folder) / "sae").exists():
        counts = [corpus.counts[token] for token in range(len(tokenizer))]
        with lake.writing(folder / "model") as temporary:
            write_model(temporary, plants, tokenizer, counts)
        with lake.writing(folder / "sae") as temporary:
            write_sae(temporary, plants)
    return folder, plants


def _able_scorers(config: Config, scorers: Iterable[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Those of the scorers that can run here, and why the others cannot."""
    able, left_out = [], {}
    for name in scorers:
        plugin = find_plugin("scorers", name)
        try:
            plugin.check(config)
        except LatentlakeError as error:
            left_out[name] = str(error)
        else:
            able.append(name)
    return tuple(able), left_out
