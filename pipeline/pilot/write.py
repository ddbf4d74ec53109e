"""Makes the table `scorer_rhos`: what must be known about each scorer before it scores, from a pilot.

That is how much its intervals must be widened, the probability from which its answers count as yes, and the form
of its prompts.

Correct answers about one document are correlated, with a rho that differs between scorers and models. It is
estimated once, before any batch is scored, so that the rows of every batch depend only on their features:

1. The pilot takes the first features, by hash, of the batches that a run explains first.
2. They are explained and scored as their batches will be, through the batches' own ledgers, which then hold the
   answers, so nothing is asked twice. Scoring in rounds uses the config's rho, which is the lower bound of the
   estimate, so that a batch asks every question that the pilot asked. Scorers that read texts made later
   (`steered_texts`) get no estimate.
3. If the config leaves open how many questions a prompt asks, or by which method activations are simulated, the
   answer to the first prompt decides for all batches: servers behind one address can differ, and batches are
   compared. Without a pilot, each batch decides for itself.
4. If configured, questions about controls on train windows come next, and their answers set the threshold
   (`thresholds`), which already applies to the pilot's own questions.
5. rho is estimated from all answers of a scorer and shrunk towards the config's: `shrunk_rhos.sql`.
"""

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.asking.batches import Ledgers
from pipeline.asking.roles import role_of, scorer_role, scorer_roles
from pipeline.explainers.write import explaining_ledgers, explanations_table
from pipeline.features.selection import select_features
from pipeline.lake import Lake, Published
from pipeline.make_table import read_rows
from pipeline.pilot.thresholds import ANSWERS, LEAST_ANSWERS, control_answers, control_pairs, yes_no_scorers
from pipeline.pilot.unwritten import Tables, asked_batch, unwritten_batch, unwritten_windows
from pipeline.scorers.base import FindsForm
from pipeline.scorers.write import find_forms, load_scorer, predictions_table, scoring_ledgers
from pipeline.tables import TABLES
from pipeline.tables.stages import STAGES

LEAST_EXPLANATIONS = 32
"""Minimum number of judged explanations for an estimate."""

LEAST_FEATURES = 8
"""Minimum number of features for an estimate, as its standard error is over features."""

_ANSWERS = ("examples", "explanations", "predictions")


def write_scorer_rhos(lake: Lake, sae: str) -> Published:
    """Ask the pilot's questions about an SAE, and write each scorer's rho; the figures are the rhos.

    A scorer's result is kept when another scorer is added: the pilot takes the features that are selected now, and
    existing batches were scored with the earlier result.

    Raises:
        LakeError: An input is missing, or another run is working on a batch of the pilot.
        ConfigError: The endpoint or the selection cannot be used as configured.
    """
    scorers = _scorers_to_ask(lake, sae) or lake.config.scoring.scorers
    made, given = _no_answers(), {"pilot_scorers": _scorers_table(lake, scorers, {})}
    if lake.config.scoring.pilot_features and scorers:
        lake.require(*STAGES["scorer_rhos"].inputs, sae=sae)
        batches = _explained_batches(lake, sae)
        forms = _find_forms(lake, sae, batches, scorers)
        given["pilot_scorers"] = _scorers_table(lake, scorers, forms)
        assumed = _assumed_rhos(lake, sae, forms, {})
        answers = _control_answers(lake, sae, batches, scorers, assumed)
        given["control_thresholds"] = _thresholds(lake, sae, given, answers)
        thresholds = {row["scorer"]: row["threshold"] for row in given["control_thresholds"].to_pylist()}
        assumed = _assumed_rhos(lake, sae, forms, thresholds)
        made = _pilot_answers(lake, sae, batches, scorers, assumed)
    else:
        given["control_thresholds"] = _thresholds(lake, sae, given, ANSWERS.empty_table())
    rows = read_rows(
        lake,
        "shrunk_rhos",
        sae=sae,
        given={**made, **given},
        least_explanations=LEAST_EXPLANATIONS,
        least_features=LEAST_FEATURES,
    )
    published = [
        lake.write("scorer_rhos", rows.filter(pc.equal(rows["scorer"], scorer)), sae=sae, part=scorer)
        for scorer in scorers or lake.parts("scorer_rhos")
    ]
    figures = dict(zip(rows["scorer"].to_pylist(), rows["rho"].to_pylist(), strict=True))
    return Published.together(published, figures)


def is_pilot_open(lake: Lake, sae: str) -> bool:
    """Whether an SAE's pilot must ask again for one of its scorers, because requests failed."""
    return bool(_open_scorers(lake, sae))


def _scorers_to_ask(lake: Lake, sae: str) -> tuple[str, ...]:
    """The scorers without a pilot's result, and those whose requests failed."""
    is_open = _open_scorers(lake, sae)

    def is_done(scorer: str) -> bool:
        return scorer not in is_open and lake.is_there(lake.path("scorer_rhos", sae=sae, part=scorer))

    return tuple(scorer for scorer in lake.config.scoring.scorers if not is_done(scorer))


def _open_scorers(lake: Lake, sae: str) -> set[str]:
    """The scorers whose requests failed in an SAE's pilot."""
    rows = lake.query(
        "open_pilots",
        sae=sae,
        least_explanations=LEAST_EXPLANATIONS,
        least_features=LEAST_FEATURES,
        least_answers=LEAST_ANSWERS,
    )
    return {*rows["scorer"]}


def features_to_ask(lake: Lake, sae: str, selected: pa.Table) -> pa.Table:
    """The pilot's features among `selected`, rows of `selected_features`; none once the pilot is done."""
    if not lake.config.scoring.scorers or (lake.has("scorer_rhos", sae=sae) and not is_pilot_open(lake, sae)):
        return selected.slice(0, 0)
    return read_rows(lake, "pilot_features", sae=sae, given=_before_pilot(selected))


def _before_pilot(selected: pa.Table) -> Tables:
    """The tables that a pilot does not read from the lake: those that its own result is about to change."""
    return {"selected_features": selected, "scorer_rhos": TABLES["scorer_rhos"].schema.empty_table()}


def _explained_batches(lake: Lake, sae: str) -> dict[int, Tables]:
    """The tables of the pilot's features up to their explanations, by batch."""
    given = _before_pilot(select_features(lake, sae))  # the current selection: versions do not include it
    drawn = read_rows(lake, "pilot_features", sae=sae, given=given)
    batches = {}
    for batch in dict.fromkeys(drawn["batch"].to_pylist()):
        selected = drawn.filter(pc.equal(drawn["batch"], batch))
        made = {**given, **unwritten_windows(lake, sae, batch, selected)}
        with asked_batch(lake, explaining_ledgers(lake.config), sae, batch, made) as (own, asks):
            made["explanations"] = explanations_table(own, asks)
        batches[batch] = made
    return batches


def _find_forms(lake: Lake, sae: str, batches: Mapping[int, Tables], scorers: Sequence[str]) -> dict[str, str]:
    """The form of each scorer's prompts, from the first batch of the pilot whose answers determine one."""
    forms: dict[str, str] = {}
    for batch, made in batches.items():
        left = [name for name in scorers if name not in forms and isinstance(load_scorer(name), FindsForm)]
        if not left:
            break
        with asked_batch(lake, scoring_ledgers(lake.config), sae, batch, made) as (own, asks):
            forms |= find_forms(own, asks, left)
    return forms


def _control_answers(
    lake: Lake, sae: str, batches: Mapping[int, Tables], scorers: Sequence[str], assumed: pa.Table
) -> pa.Table:
    """The scorers' answers about controls, if the config sets thresholds from them."""
    if lake.config.scoring.threshold != "controls":
        return ANSWERS.empty_table()
    with_rhos = {batch: {**explained, "scorer_rhos": assumed} for batch, explained in batches.items()}
    pairs = {}
    for batch, made in with_rhos.items():
        with unwritten_batch(lake, sae, batch, made) as own:
            pairs[batch] = control_pairs(own)
    n_pairs = sum(some.num_rows for some in pairs.values())
    parts = [ANSWERS.empty_table()]
    ledgers: Ledgers = {"thresholds": scorer_roles(lake.config)}
    for batch, made in with_rhos.items():
        with asked_batch(lake, ledgers, sae, batch, made) as (own, asks):
            parts.append(control_answers(own, asks, scorers, pairs[batch], n_pairs))
    return pa.concat_tables(parts)


def _thresholds(lake: Lake, sae: str, given: Tables, answers: pa.Table) -> pa.Table:
    """The rows of `control_thresholds`."""
    given = {**given, "control_answers": answers}
    return read_rows(lake, "control_thresholds", sae=sae, given=given, least_answers=LEAST_ANSWERS)


def _assumed_rhos(
    lake: Lake, sae: str, forms: Mapping[str, str], thresholds: Mapping[str, float | None]
) -> pa.Table:
    """The rows of `scorer_rhos` for the pilot's own answers: its findings so far, and the config's rho."""
    rho = lake.config.scoring.rho
    rows = [
        {"sae": sae, "scorer": name, "form": forms.get(name), "threshold": thresholds.get(name), "rho": rho}
        for name in lake.config.scoring.scorers
    ]
    return pa.Table.from_pylist(rows, TABLES["scorer_rhos"].schema)


def _pilot_answers(
    lake: Lake, sae: str, batches: Mapping[int, Tables], scorers: Sequence[str], assumed: pa.Table
) -> Tables:
    """Examples, explanations and predictions of the pilot's features, batch by batch."""
    parts = [_no_answers()]
    for batch, explained in batches.items():
        made = {**explained, "scorer_rhos": assumed}
        with asked_batch(lake, scoring_ledgers(lake.config), sae, batch, made) as (own, asks):
            made["predictions"] = predictions_table(own, asks, scorers)
        parts.append({table: made[table].cast(TABLES[table].schema) for table in _ANSWERS})
    return {table: pa.concat_tables(part[table] for part in parts) for table in _ANSWERS}


def _no_answers() -> Tables:
    return {table: TABLES[table].schema.empty_table() for table in _ANSWERS}


def _scorers_table(lake: Lake, scorers: Sequence[str], forms: Mapping[str, str]) -> pa.Table:
    """One row per scorer: the model that it asks, if any, whether it asks yes or no, and its prompt form."""
    models = [
        role_of(lake.config, scorer_role(scorer)).model if load_scorer(scorer).role else None for scorer in scorers
    ]
    asks = yes_no_scorers(scorers)
    columns = {
        "scorer": pa.array(scorers, pa.string()),
        "model": pa.array(models, pa.string()),
        "is_yes_no": pa.array([name in asks for name in scorers], pa.bool_()),
        "form": pa.array([forms.get(name) for name in scorers], pa.string()),
    }
    return pa.table(columns)
