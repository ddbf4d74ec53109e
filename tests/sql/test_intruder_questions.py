"""The intruder's questions: four of one decile, one that is not, and marks that tell nothing."""

from collections import Counter

import pytest

from pipeline.errors import ConfigError
from pipeline.plugins import find_plugin

from .rows import CONFIG, SAE, Database

SQL = find_plugin("scorers", "intruder").path / "questions.sql"
N_TOKENS = 8
FULL = range(1, 9)
"""Deciles of eleven windows; 9 has five, 10 has four."""


def questions(**values):
    """Of feature 0, whose window number i fires on 1 + i % 3 tokens, with an empty and another explanation."""
    database = Database(**values)
    deciles = [*(decile for decile in FULL for _ in range(11)), *[9] * 5, *[10] * 4]
    rows = []
    for number, decile in enumerate(deciles):
        fires = {(number + step) % N_TOKENS for step in range(1 + number % 3)}
        rows.append(
            {
                "example_id": f"a{number}",
                "kind": "activating",
                "decile": decile,
                "draw": number + 1,
                "peak": 1.0,
                "token_ids": [number] * N_TOKENS,
                "activations": [float(at in fires) for at in range(N_TOKENS)],
            }
        )
    rows += [
        {
            "example_id": f"s{number}",
            "kind": "random",
            "draw": number + 1,
            "token_ids": [500 + number] * (N_TOKENS if number % 4 else 3),
            "activations": [0.0] * N_TOKENS,
        }
        for number in range(40)
    ]
    database.fill("examples", [{"sae": SAE, "feature": 0, "role": "test"} | row for row in rows])
    names = "explanation_id, feature, explainer, explanation"
    explanations = [("e", 0, "empty", ""), ("o", 0, "default", "words")]
    listed = ", ".join(map(str, explanations))
    database.connection.execute(
        f"create or replace temp table scored_explanations as from (values {listed}) as each({names})"
    )
    return {row["example_id"]: row for row in rows}, database.rows(SQL)


def test_a_question_is_four_windows_of_one_decile_and_a_silent_one_marked_as_a_fifth():
    windows, rows = questions()
    assert len(rows) == 17 and {row["explanation_id"] for row in rows} == {"e"}, "two a full decile, one of five"
    used = Counter()
    for row in rows:
        shown = [each["example_id"] for each in row["windows"]]
        assert len(shown) == 5 and shown[row["intruder_number"] - 1] == row["example_id"]
        others = [windows[each] for each in shown if each != row["example_id"]]
        assert {f"decile {each['decile']}" for each in others} == set(row["strata"])
        used.update(each["example_id"] for each in others)
        assert windows[row["example_id"]]["kind"] == "random"
        # Its marks are those of a fifth window of the decile, which is not shown.
        fires = [[at for at, value in enumerate(each["activations"]) if value] for each in windows.values()
                 if each.get("decile") == others[0]["decile"] and each["example_id"] not in shown]  # fmt: skip
        assert sorted(row["marked"]) in fires and max(row["marked"]) < len(windows[row["example_id"]]["token_ids"])
        for each in row["windows"]:
            if each["example_id"] != row["example_id"]:
                assert all(windows[each["example_id"]]["activations"][at] for at in each["marked"])
    assert set(used.values()) == {1}, "no window is in two questions"
    assert len({row["intruder_number"] for row in rows}) > 2


def test_an_intruder_may_fire_in_another_decile_with_its_own_marks():
    windows, rows = questions(scoring_intruder_intruder="other_decile")
    for row in rows:
        own = windows[row["example_id"]]
        assert own["kind"] == "activating" and f"decile {own['decile']}" not in row["strata"]
        assert all(own["activations"][at] for at in row["marked"])


def test_the_intruder_is_refused_before_a_run_that_asks_about_no_feature():
    plugin = find_plugin("scorers", "intruder")
    plugin.check(CONFIG)
    explaining = CONFIG.explaining.model_copy(update={"controls": 0})
    with pytest.raises(ConfigError, match="intruder asks only about features that have controls"):
        plugin.check(CONFIG.model_copy(update={"explaining": explaining}))


def test_fewer_questions_are_the_first_of_them():
    _, rows = questions()
    _, fewer = questions(scoring_intruder_n_questions=5, scoring_intruder_n_windows=200)
    assert [row["question_id"] for row in fewer] == [row["question_id"] for row in rows[:5]]
