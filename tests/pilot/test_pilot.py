"""The pilot without a run: whose explanations it borrows, how much it asks, and what it keeps and does not see."""

from collections.abc import Callable

import pyarrow as pa
import pytest

from pipeline.config import Config
from pipeline.lake import Lake
from pipeline.pilot.thresholds import (
    LEAST_ANSWERS,
    control_pairs,
    others_a_feature,
    windows_a_pair,
    yes_no_scorers,
)
from pipeline.pilot.unwritten import unwritten_batch
from pipeline.pilot.write import write_scorer_rhos
from pipeline.tables import TABLES
from pipeline.tables.versions import SourceHashes

SAE = "hand-set"
Open = Callable[..., Lake]


@pytest.fixture
def open_lake(make_experiment: Callable[..., Config]) -> Open:
    """A function that opens the lake of an experiment with some keys of `scoring`."""
    return lambda **scoring: Lake(make_experiment(scoring=scoring), SourceHashes())


def rows(table: str, *some: dict[str, object]) -> pa.Table:
    """Rows of a table; columns that they leave out are null."""
    return pa.Table.from_pylist([*some], TABLES[table].schema)


def explained(words: dict[int, str], near: list[tuple[int, int]]) -> dict[str, pa.Table]:
    """The tables of a batch whose features have these explanations, in the order of their draw."""
    explanation = {"sae": SAE, "explainer": "default", "status": "ok", "is_chosen": True}
    selected = [
        {"sae": SAE, "feature": feature, "batch": 0, "place": place} for place, feature in enumerate(words, 1)
    ]
    return {
        "selected_features": rows("selected_features", *selected),
        "feature_routes": rows(
            "feature_routes", *({"sae": SAE, "feature": feature, "route": "llm"} for feature in words)
        ),
        "feature_neighbours": rows(
            "feature_neighbours", *({"sae": SAE, "feature": one, "neighbour": other} for one, other in near)
        ),
        "explanations": rows(
            "explanations",
            *(
                {**explanation, "explanation_id": f"e{feature}", "feature": feature, "explanation": text}
                for feature, text in words.items()
            ),
        ),
    }


def test_a_feature_of_the_pilot_borrows_other_words_and_those_of_near_features_last(open_lake: Open) -> None:
    made = explained({3: "dogs", 1: "dogs", 5: "cats", 4: "birds", 9: "not of the pilot"}, near=[(3, 5), (4, 5)])
    with unwritten_batch(open_lake(pilot_features=4, max_features=1), SAE, 0, made) as batch:
        pairs = control_pairs(batch)
    borrowed: dict[int, list[tuple[int, str]]] = {}
    for row in pairs.to_pylist():
        borrowed.setdefault(row["feature"], []).append((row["other_feature"], row["explanation"]))
    assert borrowed == {
        3: [(4, "birds"), (5, "cats")],
        1: [(5, "cats"), (4, "birds")],
        5: [(1, "dogs"), (4, "birds")],
        4: [(3, "dogs"), (5, "cats")],
    }
    assert len(set(pairs["explanation_id"].to_pylist())) == pairs.num_rows


@pytest.mark.parametrize(("pilot_features", "n_examples", "n_others"), [(32, 40, 1), (10, 10, 2), (4, 10, 5)])
def test_a_small_pilot_asks_about_more_explanations_of_others(
    make_experiment: Callable[..., Config], pilot_features: int, n_examples: int, n_others: int
) -> None:
    config = make_experiment(scoring={"pilot_features": pilot_features}, explaining={"n_examples": n_examples})
    assert others_a_feature(config) == n_others


def test_any_number_of_pairs_gives_enough_answers_even_if_a_fifth_is_missing() -> None:
    for n_pairs in (1, 3, 32, 124, 1000):
        assert 0.8 * n_pairs * windows_a_pair(n_pairs) >= LEAST_ANSWERS
    assert windows_a_pair(0) > 0 and windows_a_pair(1000) == 1


def test_only_scorers_that_ask_yes_or_no_have_a_threshold() -> None:
    assert [*yes_no_scorers(("detection", "embedding", "simulation", "fuzzing"))] == ["detection", "fuzzing"]


def test_a_batch_that_is_not_written_sees_no_predictions_of_an_earlier_run(open_lake: Open) -> None:
    lake = open_lake()
    lake.write("predictions", rows("predictions", {"scorer": "detection"}), sae=SAE, batch=0, part="detection")
    with unwritten_batch(lake, SAE, 0, {}) as batch:
        batch.put("predictions", rows("predictions"))
        assert batch.connection.table("predictions").fetchall() == []


def test_without_a_pilot_the_configs_rho_holds_and_another_scorer_changes_no_row(open_lake: Open) -> None:
    first = open_lake(pilot_features=0, rho=0.2, scorers=["detection"])
    assert write_scorer_rhos(first, SAE).figures == {"detection": 0.2}
    path = first.path("scorer_rhos", sae=SAE, part="detection")
    before = path.stat().st_mtime_ns
    both = open_lake(pilot_features=0, rho=0.2, scorers=["detection", "fuzzing"])
    assert write_scorer_rhos(both, SAE).figures == {"fuzzing": 0.2}
    assert both.path("scorer_rhos", sae=SAE, part="detection") == path and path.stat().st_mtime_ns == before
    assert both.query("open_pilots", sae=SAE, least_explanations=1, least_features=1, least_answers=1).is_empty()
