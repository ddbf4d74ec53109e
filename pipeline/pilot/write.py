"""The table `scorer_rhos`: what has to be known about each scorer before it judges, from a pilot.

By how much its intervals have to be widened, the probability from which its answers count as yes, and the form of
its prompts.

Right answers about one document are correlated, by a rho that differs between scorers and models. It is estimated
once, before any batch is scored, so that a row of every batch depends on its feature alone:

1. The pilot takes the first features, by hash, of the batches that a run explains first.
2. They are explained and scored as their batches will be, through the batches' own ledgers, which then hold the
   answers: nothing is asked twice. Scoring in rounds uses the config's rho, which is the lower bound of the
   estimate, so that a batch asks every question that the pilot asked. Scorers of texts that are made later
   (`steered_texts`) get no estimate.
3. Where the config leaves open how many questions a prompt puts, or by which method activations are simulated,
   the answer to the first prompt tells, for every batch: servers behind one address can differ, and batches are
   compared. Without a pilot each batch finds out by itself.
4. If the config asks for it, questions about controls on train windows come next, and their answers set the
   threshold (`thresholds`); the pilot's own questions are already judged by it.
5. rho is estimated from all answers of a scorer, and shrunk towards the config's: `shrunk_rhos.sql`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.asking.batches import asks_of, open_askers
from pipeline.asking.roles import role_of, scorer_role, scorer_roles
from pipeline.explainers.write import explaining_ledgers
from pipeline.features.selection import select_features
from pipeline.lake import Lake, Published
from pipeline.make_table import read_rows
from pipeline.pilot.rehearse import (
    Tables,
    rehearse_controls,
    rehearse_explanations,
    rehearse_forms,
    rehearse_pairs,
    rehearse_predictions,
    rehearse_windows,
)
from pipeline.pilot.thresholds import ANSWERS, LEAST_ANSWERS, yes_no_scorers
from pipeline.scorers.base import FindsForm
from pipeline.scorers.write import load_scorer, scoring_ledgers
from pipeline.tables import TABLES
from pipeline.tables.stages import STAGES

LEAST_EXPLANATIONS = 32
"""Judged explanations under which a pilot tells nothing."""

LEAST_FEATURES = 8
"""Features under which it tells nothing, whatever their explanations: its standard error is over features."""

_ANSWERS = ("examples", "explanations", "predictions")


def write_scorer_rhos(lake: Lake, sae: str) -> Published:
    """Ask the pilot's questions about an SAE, and write each scorer's rho; figures: these.

    What was told of a scorer stays when another one is named: the pilot's features are those selected now, and
    batches are scored already by what the first ones told.

    Raises:
        LakeError: An input is missing, or another run is at work on a batch of the pilot.
        ConfigError: The endpoint or the selection cannot be used as the config says.
    """
    scorers = _untold_scorers(lake, sae) or lake.config.scoring.scorers
    made, given = _no_answers(), {"pilot_scorers": _scorers_table(lake, scorers, {})}
    if lake.config.scoring.pilot_features:
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
    for scorer in scorers:
        its = rows.filter(pc.equal(rows["scorer"], scorer))
        published = lake.write("scorer_rhos", its, sae=sae, part=scorer)
    figures = dict(zip(rows["scorer"].to_pylist(), rows["rho"].to_pylist(), strict=True))
    return replace(published, n_rows=rows.num_rows, figures=figures)


def is_pilot_open(lake: Lake, sae: str) -> bool:
    """Whether an SAE's pilot is to be asked again for one of its scorers, as requests failed."""
    return bool(_open_scorers(lake, sae))


def _untold_scorers(lake: Lake, sae: str) -> tuple[str, ...]:
    """The scorers of which no pilot has told yet, and those whose requests failed."""
    is_open = _open_scorers(lake, sae)

    def is_told(scorer: str) -> bool:
        return scorer not in is_open and lake.is_there(lake.path("scorer_rhos", sae=sae, part=scorer))

    return tuple(scorer for scorer in lake.config.scoring.scorers if not is_told(scorer))


def _open_scorers(lake: Lake, sae: str) -> set[str]:
    rows = lake.query(
        "open_pilots",
        sae=sae,
        least_explanations=LEAST_EXPLANATIONS,
        least_features=LEAST_FEATURES,
        least_answers=LEAST_ANSWERS,
    )
    return {*rows["scorer"]}


def _explained_batches(lake: Lake, sae: str) -> dict[int, Tables]:
    """The tables of the pilot's features up to their explanations, by batch."""
    given = {
        "selected_features": select_features(lake, sae),  # now: the selection is in no version
        "scorer_rhos": TABLES["scorer_rhos"].schema.empty_table(),
    }
    drawn = read_rows(lake, "pilot_features", sae=sae, given=given)
    batches = {}
    for batch in dict.fromkeys(drawn["batch"].to_pylist()):
        selected = drawn.filter(pc.equal(drawn["batch"], batch))
        made = {**given, **rehearse_windows(lake, sae, batch, selected)}
        with open_askers(lake, explaining_ledgers(lake.config), sae, batch, made) as askers:
            made["explanations"] = rehearse_explanations(lake, sae, batch, made, asks_of(askers))
        batches[batch] = made
    return batches


def _find_forms(
    lake: Lake, sae: str, batches: Mapping[int, Tables], scorers: Sequence[str]
) -> dict[str, str]:
    """The form of each scorer's prompts, where the first batch of the pilot that gets an answer tells one."""
    forms: dict[str, str] = {}
    for batch, made in batches.items():
        left = [name for name in scorers if name not in forms and isinstance(load_scorer(name), FindsForm)]
        if not left:
            break
        with open_askers(lake, scoring_ledgers(lake.config), sae, batch, made) as askers:
            forms |= rehearse_forms(lake, sae, batch, made, asks_of(askers), left)
    return forms


def _control_answers(
    lake: Lake, sae: str, batches: Mapping[int, Tables], scorers: Sequence[str], assumed: pa.Table
) -> pa.Table:
    """What the scorers say about controls, if the config wants their thresholds from that."""
    if lake.config.scoring.threshold != "controls":
        return ANSWERS.empty_table()
    told = {batch: {**explained, "scorer_rhos": assumed} for batch, explained in batches.items()}
    pairs = {batch: rehearse_pairs(lake, sae, batch, made) for batch, made in told.items()}
    n_pairs = sum(own.num_rows for own in pairs.values())
    parts = [ANSWERS.empty_table()]
    for batch, made in told.items():
        with open_askers(lake, {"thresholds": scorer_roles(lake.config)}, sae, batch, made) as askers:
            asks, own = asks_of(askers), pairs[batch]
            parts.append(rehearse_controls(lake, sae, batch, made, asks, scorers, own, n_pairs, is_certain=True))
    return pa.concat_tables(parts)


def _thresholds(lake: Lake, sae: str, given: Tables, answers: pa.Table) -> pa.Table:
    """The rows of `control_thresholds`."""
    given = {**given, "control_answers": answers}
    return read_rows(lake, "control_thresholds", sae=sae, given=given, least_answers=LEAST_ANSWERS)


def _assumed_rhos(
    lake: Lake, sae: str, forms: Mapping[str, str], thresholds: Mapping[str, float | None]
) -> pa.Table:
    """The rows of `scorer_rhos` by which the pilot itself is judged: what it has told, and the config's rho."""
    rho = lake.config.scoring.rho
    rows = [
        {"sae": sae, "scorer": name, "form": forms.get(name), "threshold": thresholds.get(name), "rho": rho}
        for name in lake.config.scoring.scorers
    ]
    return pa.Table.from_pylist(rows, TABLES["scorer_rhos"].schema)


def _pilot_answers(
    lake: Lake, sae: str, batches: Mapping[int, Tables], scorers: Sequence[str], assumed: pa.Table
) -> Tables:
    """Examples, explanations and predictions of the pilot's features, batch after batch."""
    parts = [_no_answers()]
    for batch, explained in batches.items():
        made = {**explained, "scorer_rhos": assumed}
        with open_askers(lake, scoring_ledgers(lake.config), sae, batch, made) as askers:
            made["predictions"] = rehearse_predictions(lake, sae, batch, made, asks_of(askers), scorers)
        parts.append({table: made[table].cast(TABLES[table].schema) for table in _ANSWERS})
    return {table: pa.concat_tables(part[table] for part in parts) for table in _ANSWERS}


def _no_answers() -> Tables:
    return {table: TABLES[table].schema.empty_table() for table in _ANSWERS}


def _scorers_table(lake: Lake, scorers: Sequence[str], forms: Mapping[str, str]) -> pa.Table:
    """One row per scorer: the model that it asks, if any, whether it asks yes or no, and its prompts' form."""
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
