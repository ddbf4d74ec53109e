"""Scores of predicted activations: formulas beside numpy, what is null, and intervals that hold."""

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.plugins import find_plugin
from sql.rows import CONFIG, Database
from sql.score_reference import SAE, ScoreDatabase

N_TOP, N_DRAWN = 5, 5


def database(windows, *, largest=10.0, explanations=1, **values):
    """Tables of windows (predicted or None, true, document, kind, rank, draw), of one explanation or of each.

    Those of the first ranks and draws are in strata, as the scorer's questions have them.
    """
    own = windows if isinstance(windows[0], list) else [windows] * explanations
    made = ScoreDatabase(**values)
    rows = [(number, place, *each) for number, some in enumerate(own) for place, each in enumerate(some)]
    strongest = [sorted(rank for *_, rank, _ in some if rank is not None)[:N_TOP] for some in own]
    made.fill(
        "feature_stats",
        [{"sae": SAE, "feature": number, "max_activation_train": largest} for number in range(len(own))],
    )
    made.fill(
        "explanations",
        [
            {"explanation_id": f"e{number}", "sae": SAE, "feature": number, "explainer": "default"}
            for number in range(len(own))
        ],
    )
    made.fill(
        "examples",
        [
            {
                "example_id": f"x{number} {place}",
                "sae": SAE,
                "feature": number,
                "role": "test",
                "kind": kind,
                "rank": rank,
                "draw": draw,
                "doc_id": f"d{number} {document}",
                "activations": list(map(float, true)),
            }
            for number, place, _, true, document, kind, rank, draw in rows
        ],
    )
    made.fill(
        "predictions",
        [
            {
                "explanation_id": f"e{number}",
                "scorer": "simulation",
                "role": "test",
                "question_id": f"{number} {place}",
                "example_id": f"x{number} {place}",
                "values": predicted and list(map(float, predicted)),
                "status": "ok" if predicted else "unparsed",
                "strata": ["top"] * (rank is not None and rank in strongest[number])
                + ["random"] * (draw <= N_DRAWN),
            }
            for number, place, predicted, _, _, _, rank, draw in rows
        ],
    )
    return made


def test_the_strongest_windows_are_those_by_rank_and_others_by_draw():
    made = Database(scoring_simulation_n_top=3, scoring_simulation_n_drawn=2, scoring_n_questions=4)
    # The strongest windows have a late place in the draw, or none.
    own = [(1, 40), (2, None), (3, 2), (4, 5), (50, 1), (60, 3), (70, 4)]
    made.fill(
        "examples",
        [
            {
                "example_id": f"rank {rank}",
                "feature": 0,
                "role": "test",
                "kind": "activating",
                "rank": rank,
                "draw": draw,
            }
            for rank, draw in own
        ]
        + [
            {"example_id": f"silent {draw}", "feature": 0, "role": "test", "kind": "random", "draw": draw}
            for draw in (1, 2, 3)
        ]
        + [{"example_id": "train", "feature": 0, "role": "train", "kind": "activating", "rank": 1, "draw": 1}],
    )
    made.connection.execute(
        "create or replace temp table scored_explanations as "
        "select 'e' as explanation_id, 0 as feature, 'default' as explainer, 'words' as explanation"
    )
    rows = made.rows(find_plugin("scorers", "simulation").path / "questions.sql")
    assert {row["example_id"]: row["strata"] for row in rows} == {
        "rank 1": ["top"],
        "rank 2": ["top"],
        "rank 3": ["top", "random"],
        "rank 50": ["random"],
        "silent 1": ["random"],
        "silent 2": ["random"],
    }


def test_more_strong_windows_than_examples_hold_are_refused_before_a_run():
    plugin = find_plugin("scorers", "simulation")
    plugin.check(CONFIG)
    sampling = CONFIG.sampling.model_copy(update={"top_examples": 4})
    with pytest.raises(ConfigError, match=r"set sampling\.top_examples: 5, or lower n_top"):
        plugin.check(CONFIG.model_copy(update={"sampling": sampling}))


def scores(windows, **values):
    return database(windows, **values).rows("scores")


def details(windows, **values):
    rows = database(windows, **values).rows("score_details")
    return {(row["metric"], row["stratum"]): row for row in rows}


def drawn(seed=0, n=15, noise=1.0):
    """Windows of 12 tokens, two in three with firings, one a document."""
    random = np.random.default_rng(seed)
    for place in range(n):
        true = random.integers(1, 11, 12) * (random.random(12) < 0.2) * (place % 3 < 2)
        predicted = np.clip(true + noise * random.normal(size=12), 0, 10)
        kind = "activating" if place % 3 < 2 else "random"
        yield list(predicted), list(true), place, kind, place + 1 if kind == "activating" else None, place // 2 + 1


def joined(windows):
    x = np.concatenate([each[0] for each in windows])
    y = np.concatenate([np.minimum(10, np.round(each[1])) for each in windows])
    return x, y


def test_the_correlation_is_over_the_tokens_of_all_windows_together():
    windows = list(drawn())
    [row] = scores(windows)
    x, y = joined(windows)
    assert row["correlation"] == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-9)
    assert row["correlation_low"] < row["correlation"] < row["correlation_high"]
    assert (row["n_scored"], row["n_unscored"], row["coverage"], row["reason"]) == (15, 0, 1.0, None)
    assert row["balanced_accuracy"] is row["auroc"] is None


def test_windows_of_a_feature_that_fires_in_no_train_document_are_unscored():
    windows = [([0, 3, 1], [0, 2, 0], place, "activating", place + 1, place + 1) for place in range(5)]
    [row] = scores(windows, largest=None)
    assert (row["n_scored"], row["n_unscored"], row["correlation"]) == (0, 5, None)


def test_the_truth_is_tenths_of_the_largest_train_activation_and_ten_at_most():
    windows = [([10, 5, 0, 0], [4.0, 2.1, 0, 0.1], 1, "activating", 1, 1),
               ([10, 0, 0, 0], [7.0, 0, 0, 0], 2, "activating", 2, 2)]  # fmt: skip
    [row] = scores(windows, largest=4.0)
    assert row["correlation"] == pytest.approx(1.0)


def test_errors_are_told_raw_and_calibrated_on_the_other_windows():
    windows = list(drawn(1))
    found = details(windows)
    x, y = joined(windows)
    assert found["explained", "all"]["value"] == pytest.approx(1 - np.mean((x - y) ** 2) / np.mean(y**2))
    squares = 0.0
    for place, each in enumerate(windows):
        slope, intercept = np.polyfit(*joined(windows[:place] + windows[place + 1 :]), 1)
        own_x, own_y = joined([each])
        squares += np.sum((own_y - intercept - slope * own_x) ** 2)
    assert found["explained_calibrated", "all"]["value"] == pytest.approx(1 - squares / np.sum(y**2), abs=1e-9)


def test_the_strongest_windows_and_those_by_draw_are_told_apart():
    windows = list(drawn(2))
    found = details(windows)
    active = sorted((each for each in windows if each[3] == "activating"), key=lambda each: each[4])
    strata = {"top": active[:N_TOP], "random": [each for each in windows if each[5] <= N_DRAWN], "all": windows}
    for stratum, some in strata.items():
        x, y = joined(some)
        row = found["correlation", stratum]
        assert row["n"] == len(x) and row["weighting"] == "sample"
        assert row["value"] == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-9)


def test_where_the_truth_does_not_vary_there_is_no_figure_and_a_reason():
    silent = [([1, 0, 2], [0, 0, 0], place, "random", None, place + 1) for place in range(6)]
    [row] = scores(silent)
    assert row["correlation"] is row["correlation_low"] is None
    assert row["reason"] == "the true activations do not vary"
    assert details(silent)["explained", "all"]["value"] is None


def test_one_value_for_every_token_explains_nothing():
    flat = [([3, 3, 3], [0, place % 2, 5], place, "activating", place + 1, place + 1) for place in range(6)]
    [row] = scores(flat)
    assert (row["correlation"], row["correlation_low"]) == (0.0, None)
    assert "predicted alike" in row["reason"]


def test_a_window_without_an_answer_is_unscored_and_no_zero():
    windows = list(drawn(3))
    some = [(None, *each[1:]) if place < 2 else each for place, each in enumerate(windows)]
    [row] = scores(some)
    assert (row["n_scored"], row["n_unscored"]) == (13, 2)
    assert row["correlation"] == pytest.approx(np.corrcoef(*joined(windows[2:]))[0, 1], abs=1e-9)
    [row] = scores([(None, *each[1:]) if place < 4 else each for place, each in enumerate(windows)])
    assert row["correlation"] is None and row["reason"] == "coverage 0.73 is under 0.80"


def test_the_summary_is_of_correlations():
    made = database(list(drawn()), explanations=4)
    made.fill("scores", made.run("scores"))
    made.fill("feature_routes", [{"sae": SAE, "feature": number, "route": "llm"} for number in range(4)])
    [row] = made.rows("summary")
    assert (row["metric"], row["n_features"]) == ("correlation", 4) and 0 < row["mean"] < 1


# Intervals -----------------------------------------------------------------------------------------------

N_SAMPLES = 100


def simulated(seed, n, hit, noise, alarm):
    """A sample of n windows: the simulator sees a window's firings or none of them, and raises false alarms."""
    random = np.random.default_rng(seed)
    for place in range(n):
        true = np.zeros(32, int)
        n_firing = random.integers(1, 4) if random.random() < 2 / 3 else 0
        true[random.choice(32, n_firing, replace=False)] = random.integers(1, 11, n_firing)
        seen = true * (random.random() < hit) + (random.random(32) < alarm) * random.integers(1, 11, 32)
        predicted = np.clip(seen + noise * random.normal(size=32) * (true > 0), 0, 10)
        yield list(predicted), list(true), place, "activating", place + 1, place + 1


GRID = [(0.1, 2, 0.05), (0.3, 0, 0.0), (0.5, 2, 0.01), (0.7, 2, 0.05), (0.97, 0, 0.0)]
"""Some of 18 points: over all of them, and 800 samples each, coverage is 0.97 on average and at least 0.92."""


@pytest.mark.whole
def test_intervals_cover_at_15_windows():
    covered = []
    for number, (hit, noise, alarm) in enumerate(GRID):
        whole = [*simulated(1000 + number, 3000, hit, noise, alarm)]
        true = np.corrcoef(*joined(whole))[0, 1]
        samples = [[*simulated(f, 15, hit, noise, alarm)] for f in range(number * 500, number * 500 + N_SAMPLES)]
        rows = scores(samples)
        inside = [
            row["correlation_low"] <= true <= row["correlation_high"]
            for row in rows
            if row["correlation_low"] is not None
        ]
        covered.append(np.mean(inside))
    assert 0.93 <= np.mean(covered) <= 0.98
    assert min(covered) >= 0.88
