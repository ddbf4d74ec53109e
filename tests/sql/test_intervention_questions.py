"""Which continuations are shown beside a feature's own: any of the pool, but not a control's lender's."""

from collections import Counter
from collections.abc import Sequence

import pytest

from pipeline.plugins import find_plugin
from sql.rows import SAE, Database

POOL, N_TRIALS = 8, 12


def asked(
    scorer: str, explained: dict[tuple[int, str], str], features: Sequence[int] = range(12), mode: str = "steer"
) -> dict[str, list[dict]]:
    """Questions by explanation, of a batch of features each of which writes its own number."""
    database = Database()
    rows = [
        {"explanation_id": f"{feature} {explainer}", "feature": feature, "explainer": explainer,
         "explanation": words, "sae": SAE, "status": "ok", "is_chosen": True}
        for (feature, explainer), words in explained.items()
    ]  # fmt: skip
    database.fill("explanations", rows)
    database.fill("feature_routes", [{"feature": feature, "route": "llm"} for feature in features])
    places = [{"feature": feature, "place": place} for place, feature in enumerate(features, start=1)]
    database.fill("batch_features", places)
    database.fill("steered_texts", [
        {"feature": feature, "mode": mode, "target_kl": 1.0, "prompt_id": prompt, "status": "ok",
         "continuation": f"text {feature}", "unsteered": "text"}
        for feature in features for prompt in range(N_TRIALS)
    ])  # fmt: skip
    database.make("scored_explanations", asks_model=True, scoring_all_draws=False, scoring_max_features=None)
    database.make("borrowed_explanations")
    names = {"pool": POOL, "n_trials": N_TRIALS, "set_size": 1}
    values = {f"scoring_intervention_{name}": value for name, value in names.items()}
    found: dict[str, list[dict]] = {}
    for row in database.rows(find_plugin("scorers", scorer).path / "questions.sql", seed=0, sae=SAE, **values):
        found.setdefault(row["explanation_id"], []).append(row)
    return found


def others(scorer: str, rows: list[dict]) -> set[int]:
    """The features whose continuations stand beside the own ones."""
    if scorer == "intervention":
        shown = {text[0]["continuation"] for row in rows for text in row["sets"]}
    else:
        shown = {row["more"] for row in rows if not row["label"]}
    return {int(text.removeprefix("text ")) for text in shown} - {rows[0]["feature"]}


@pytest.mark.parametrize("scorer", ["intervention", "intervention_surprisal"])
def test_a_control_is_not_asked_about_beside_the_feature_whose_explanation_it_borrows(scorer: str) -> None:
    own = {(feature, "default"): f"words {feature}" for feature in range(POOL)}
    found = asked(scorer, {**own, (0, "empty"): "", (1, "empty"): "", (0, "other_feature"): "words 7"})
    assert 7 in others(scorer, found["0 default"]), "what is drawn for the feature's own explanation"
    control = others(scorer, found["0 other_feature"])
    assert 7 not in control and control <= {*range(POOL)} and len(control) >= 4
    assert others(scorer, found["0 empty"]) == others(scorer, found["0 default"]), "empty ones borrow nothing"
    assert len(found["0 other_feature"]) == len(found["0 default"]) >= N_TRIALS


@pytest.mark.parametrize("scorer, n_others", [("intervention", 2), ("intervention_surprisal", 1)])
def test_every_feature_of_the_pool_is_shown_beside_others_about_as_often(scorer: str, n_others: int) -> None:
    pool = (371, 131, 295, 959, 40, 159, 415, 607)
    found = asked(scorer, {(feature, "default"): f"words {feature}" for feature in pool}, pool)
    shown = Counter(other for rows in found.values() for row in rows for other in others(scorer, [row]))
    expected = N_TRIALS * n_others
    assert sum(shown.values()) == POOL * expected and set(shown) == {*pool}
    assert all(abs(n - expected) <= 3.5 * expected**0.5 for n in shown.values()), shown


@pytest.mark.parametrize("mode", ["steer", "ablate"])
def test_text_with_more_of_a_feature_is_the_raised_one_or_the_usual_one_of_an_ablated(mode: str) -> None:
    rows = asked("intervention_surprisal", {(0, "default"): "words"}, range(3), mode)["0 default"]
    for row in rows:
        changed, usual = (row["more"], row["less"]) if mode == "steer" else (row["less"], row["more"])
        assert usual == "text" and (changed == "text 0") == row["label"]
    assert len(rows) == 2 * N_TRIALS


def test_where_no_other_feature_is_left_the_lender_is_shown() -> None:
    own = {(feature, "default"): "the same" for feature in range(1, POOL)}
    found = asked("intervention", {**own, (0, "other_feature"): "the same"})
    assert others("intervention", found["0 other_feature"]) <= {*range(1, POOL)}
    assert all(len(row["sets"]) == 3 for row in found["0 other_feature"])
