"""A pilot of every scorer: what it asks is asked for good, and a batch is scored by what it has told."""

from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from tiny import rows_of, stored

from pipeline.explainers.write import write_explanations
from pipeline.lake import Lake
from pipeline.make_table import make_table
from pipeline.pilot import write
from pipeline.plugins import find_plugins
from pipeline.scorers.write import load_scorer, write_predictions
from pipeline.tables import TABLES
from pipeline.tables.stages import STAGES

pytestmark = pytest.mark.whole

SAE = "hand-set"
SCORERS = sorted(
    name
    for name, plugin in find_plugins("scorers").items()
    if "steered_texts" not in STAGES["predictions"].tables_of(plugin)  # of which a pilot knows nothing
)
UNLIKE = {"false_positive_rate": 0.3, "false_negative_rate": 0.3}


@pytest.fixture(scope="module")
def lake(copied_lake: Any) -> Lake:
    """A lake whose pilot has been asked: of all features but one."""
    scoring = {"scorers": SCORERS, "pilot_features": 2, "oracle": UNLIKE, "rho": 0.01}
    lake: Lake = copied_lake()(scoring=scoring, explaining={"controls": 2})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "LEAST_EXPLANATIONS", 2)
        patch.setattr(write, "LEAST_FEATURES", 2)
        write.write_scorer_rhos(lake, SAE)
    return lake


def test_a_row_a_scorer_says_what_it_rests_on(lake: Lake) -> None:
    rows = {row["scorer"]: row for row in rows_of(lake, "from scorer_rhos")}
    assert sorted(rows) == SCORERS
    for name, row in rows.items():
        role = load_scorer(name).role
        assert (row["model"] is None) == (role is None)
        assert row["n_failed"] == 0 and row["n_features"] <= 2
        assert row["rho"] >= 0.01 and (row["rho"] > 0.01) == (row["reason"] is None), row
    forms = {name: row["form"] for name, row in rows.items() if row["form"]}
    assert forms == {"detection": "40", "fuzzing": "40", "neighbours": "40", "simulation": "all_at_once"}
    assert rows["detection"]["n_explanations"] == 2, "controls do not count"
    assert rows["detection"]["n_questions"] > 50


def test_a_batch_asks_the_pilots_questions_from_the_ledger_and_is_scored_by_its_rho(lake: Lake) -> None:
    n_asked = len(rows_of(lake, "from llm_requests"))
    make_table(lake, "examples", sae=SAE, batch=0)
    make_table(lake, "fuzzing_pairs", sae=SAE, batch=0)
    explained = write_explanations(lake, SAE, 0)
    judged = write_predictions(lake, SAE, 0)
    piloted = rows_of(lake, "select feature from selected_features where place <= 2")
    features = {row["feature"] for row in piloted}
    new = rows_of(lake, "from llm_requests")
    assert int(explained.figures["requests_sent"]) + int(judged.figures["requests_sent"]) == len(new) - n_asked
    predictions = stored(lake, "predictions", sae=SAE, batch=0)
    asked = {row["request_id"] for row in predictions.iter_rows(named=True) if row["feature"] in features}
    assert n_asked > 0 and len(asked - {None}) > 100
    assert judged.figures["requests_replayed"] >= len(asked - {None}), "nothing is asked twice"
    make_table(lake, "scores", sae=SAE, batch=0)
    widths = "select avg(ci_high - ci_low) as width from scores where scorer = 'detection'"
    [by_pilot] = rows_of(lake, widths)
    rhos = rows_of(lake, "from scorer_rhos where scorer = 'detection'")
    lake.write_parts("scorer_rhos", as_table([{**rhos[0], "rho": 1.0}]), sae=SAE)
    make_table(lake, "scores", sae=SAE, batch=0)
    [by_one] = rows_of(lake, widths)
    assert by_one["width"] > by_pilot["width"]


def test_what_was_told_of_a_scorer_stays_when_another_is_named_and_other_features_are_selected(
    copied_lake: Any,
) -> None:
    open_copy, scoring = copied_lake(), {"pilot_features": 2, "oracle": UNLIKE}
    before = open_copy(scoring={**scoring, "scorers": ["detection"]})
    write.write_scorer_rhos(before, SAE)
    told = stored(before, "scorer_rhos", sae=SAE)
    n_before = len(rows_of(before, "from llm_requests"))
    [piloted] = rows_of(before, "select min(feature) as feature from llm_requests where purpose = 'detection'")
    where = f"feature <> {piloted['feature']}"
    after = open_copy(scoring={**scoring, "scorers": ["detection", "fuzzing"]}, selection={"where": where})
    published = write.write_scorer_rhos(after, SAE)
    rows = stored(after, "scorer_rhos", sae=SAE)
    assert list(rows["scorer"]) == ["detection", "fuzzing"] and published.n_rows == 1
    assert rows.filter(pl.col("scorer") == "detection").equals(told)
    purposes = [row["purpose"] for row in rows_of(after, "from llm_requests order by requested_at")]
    assert set(purposes[n_before:]) <= {"explain", "fuzzing"}


def as_table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, TABLES["scorer_rhos"].schema)
