"""Batches: which are unfinished, in which order they come, and which features of one get controls."""

import pytest

from .rows import SAE, Database


def explanation(feature=1, status="ok", explainer="default"):
    return {
        "explanation_id": f"{explainer}{feature}",
        "sae": SAE,
        "feature": feature,
        "explainer": explainer,
        "status": status,
    }


def prediction(status, feature=1):
    return {
        "explanation_id": f"default{feature}",
        "sae": SAE,
        "feature": feature,
        "scorer": "detection",
        "question_id": f"q{feature}{status}",
        "status": status,
    }


def score(feature=1, explainer="default"):
    return {"explanation_id": f"{explainer}{feature}", "sae": SAE, "feature": feature, "scorer": "detection"}


def selected(*features, batch=0, priority=0, sae=SAE):
    """Rows of `selected_features`; their draw is in the order of their ids, backwards."""
    return [
        {"sae": sae, "feature": feature, "batch": batch, "priority": priority, "place": place}
        for place, feature in enumerate(reversed(features), 1)
    ]


def unfinished(features, explanations=(), predictions=(), scores=(), **values):
    database = Database(**values)
    database.fill("selected_features", features)
    database.fill("explanations", list(explanations))
    database.fill("predictions", list(predictions))
    database.fill("scores", list(scores))
    database.make_before("unfinished_batches")
    return database.rows("unfinished_batches")


def is_open(explanations=(), predictions=(), scores=()):
    return bool(unfinished(selected(1), explanations, predictions, scores))


def test_feature_without_explanation_is_open():
    assert is_open()


def test_feature_that_is_explained_and_scored_is_done():
    assert not is_open([explanation()], [prediction("ok")], [score()])


def test_explanation_without_score_is_open():
    assert is_open([explanation()])


def test_explanation_that_no_scorer_is_to_judge_is_done():
    features, explanations = selected(1, 2), [explanation(1), explanation(2)]
    [row] = unfinished(features, explanations)
    assert row["n_features"] == 2
    [row] = unfinished(features, explanations, scoring_max_features=1)
    assert row["n_features"] == 1
    assert unfinished(features, explanations, [], [score(2)], scoring_max_features=1) == []
    assert unfinished(features, explanations[:1], [], [score(1)], scoring_max_features=0), "without explanation"


def test_explanation_that_no_scorer_asks_about_is_done_once_all_have_said_so():
    rows = [prediction("not_asked") | {"scorer": name} for name in ("intruder", "neighbours")]
    for n, scorers in ((1, ["intruder"]), (2, ["intruder", "neighbours"])):
        assert unfinished(selected(1), [explanation()], rows[:n], scoring_scorers=scorers) == []
    # A scorer that has come since was not there yet.
    assert unfinished(selected(1), [explanation()], rows[:1], scoring_scorers=["intruder", "neighbours"])


def test_one_explanation_of_several_without_score_is_open():
    assert is_open([explanation(), explanation(explainer="empty")], [], [score()])


@pytest.mark.parametrize("limit", ["explaining_max_features", "scoring_max_features"])
@pytest.mark.parametrize("n_selected", [1, 2, 3])
def test_a_feature_that_a_changed_selection_brings_before_a_limit_is_open(limit, n_selected):
    rows = [explanation(feature) | {"place": 4 - feature} for feature in (1, 2, 3)]
    scores = [score(feature) | {"place": 4 - feature} for feature in (1, 2, 3)]
    features = selected(*range(1, n_selected + 1))
    assert bool(unfinished(features, rows, [], scores, **{limit: 1})) is (n_selected < 3)
    assert unfinished(features, rows, [], scores) == []


def test_what_was_explained_anew_for_another_selection_is_open_until_it_is_scored():
    explained, scored = explanation() | {"place": 1}, score() | {"place": 3}
    assert is_open([explained], [], [scored])
    assert not is_open([explained], [], [scored | {"place": 1}])


def test_what_was_explained_for_two_selections_is_open_though_all_of_it_is_scored():
    """An explainer was taken out and put back, and meanwhile a feature joined, or one left that came back."""
    first, second = explanation() | {"place": 1}, explanation(explainer="keywords")
    scores = [score(), score(explainer="keywords")]
    scores = [each | {"place": 1} for each in scores]
    assert not is_open([first, second | {"place": 1}], [], scores)
    assert is_open([first, second | {"place": 2, "status": "unparsed"}], [], scores[:1])
    assert is_open([second | {"place": 1}], [], scores)


@pytest.mark.parametrize("status", ["http_error", "budget"])
def test_explanation_that_never_came_is_open(status):
    assert is_open([explanation(status=status)])


@pytest.mark.parametrize("status", ["refused", "unparsed", "truncated", "too_long"])
def test_explanation_that_the_model_failed_to_give_is_done(status):
    assert not is_open([explanation(status=status)])


@pytest.mark.parametrize("status", ["http_error", "budget"])
def test_prediction_that_never_came_is_open_though_there_is_a_score(status):
    assert is_open([explanation()], [prediction("ok"), prediction(status)], [score()])


@pytest.mark.parametrize("status", ["refused", "unparsed", "truncated", "too_long"])
def test_prediction_that_the_model_failed_to_give_is_done(status):
    assert not is_open([explanation()], [prediction(status)], [score()])


def test_features_are_counted_and_failures_of_other_features_or_saes_do_not_count():
    features = [*selected(1, 2, 3, 4), *selected(2, sae="layers.2")]
    explanations = [
        explanation(1),
        explanation(2, "http_error"),
        explanation(4),
        explanation(9, "http_error"),
        explanation(2) | {"sae": "layers.2", "explanation_id": "other"},
    ]
    scores = [score(1), {"explanation_id": "other", "sae": "layers.2", "feature": 2}]
    assert unfinished(features, explanations, [], scores) == [
        {"sae": SAE, "batch": 0, "priority": 0, "n_features": 3}
    ]


def test_batches_come_by_priority_then_number_then_sae():
    features = [
        *selected(1, batch=0),
        *selected(2, batch=1, priority=1),
        *selected(3, batch=2, priority=9),
        *selected(4, batch=2),
        *selected(5, batch=3, priority=1),
        *selected(1, batch=0, sae="layers.0"),
    ]
    expected = [(SAE, 2), (SAE, 1), (SAE, 3), ("layers.0", 0), (SAE, 0)]
    assert [(row["sae"], row["batch"]) for row in unfinished(features)] == expected
    database = Database()
    database.fill("selected_features", features)
    rows = database.rows("selected_batches")
    assert [(row["sae"], row["batch"]) for row in rows] == expected
    assert [row["n_features"] for row in rows] == [2, 1, 1, 1, 1]


def test_priority_of_a_batch_is_of_its_features_that_are_open():
    features = [*selected(1, batch=0, priority=9), *selected(2, batch=0), *selected(3, batch=1, priority=1)]
    rows = unfinished(features, [explanation(1)], [], [score(1)])
    assert [(row["batch"], row["priority"]) for row in rows] == [(1, 1), (0, 0)]


def test_nothing_selected_is_nothing_open():
    assert unfinished([], [explanation(status="http_error")]) == []


def test_controls_are_the_first_features_of_the_batch_by_draw():
    database = Database()
    database.fill("selected_features", [*selected(*range(20)), *selected(20, 21, batch=1)])
    database.fill("feature_routes", [{"sae": SAE, "feature": i, "route": "llm"} for i in range(22)])
    database.fill(
        "feature_rules",
        [
            {"sae": SAE, "feature": 3, "rule": "chosen", "is_chosen": True},
            {"sae": SAE, "feature": 3, "rule": "other", "is_chosen": False},
        ],
    )
    database.make("batch_features")
    rows = database.rows("explained_features", explaining_controls=8)
    assert [row["feature"] for row in rows] == list(range(20))
    assert sorted(row["place"] for row in rows) == list(range(1, 21))
    assert all(row["is_control"] is (row["place"] <= 8) for row in rows)
    assert all(row["is_asked"] for row in rows)
    rows = database.rows("explained_features", explaining_max_features=3)
    assert {row["feature"] for row in rows if row["is_asked"]} == {17, 18, 19}
    assert {row["feature"]: row["rule"] for row in rows if row["rule"]} == {3: "chosen"}


def test_scored_are_answers_controls_and_rules_of_route_rule():
    database = Database()
    database.fill("selected_features", selected(1, 2))
    database.fill(
        "feature_routes",
        [
            {"sae": SAE, "feature": 1, "route": "llm"},
            {"sae": SAE, "feature": 2, "route": "rule"},
        ],
    )
    database.fill(
        "explanations",
        [
            explanation(1),
            explanation(1, explainer="rule"),
            explanation(1, explainer="empty"),
            explanation(2, explainer="rule"),
            explanation(2, "refused"),
            explanation(1, explainer="best_of_k") | {"is_chosen": False},
        ],
    )
    database.make("batch_features")

    def scored(**values):
        return {row["explanation_id"] for row in database.rows("scored_explanations", **values)}

    assert scored() == scored(asks_model=True) == {"default1", "empty1", "rule2"}
    assert scored(scoring_all_draws=True) == {"default1", "empty1", "rule2", "best_of_k1"}
    assert scored(asks_model=True, scoring_max_features=1) == {"rule2"}
    assert scored(asks_model=False, scoring_max_features=1) == {"default1", "empty1", "rule2"}


def test_a_control_may_borrow_the_first_words_that_scorers_judge():
    explainers = ["rule", "default", "best_of_k"]
    database = Database()
    routes = {1: "llm", 2: "rule", 3: "llm", 4: "llm"}
    database.fill("feature_routes", [{"sae": SAE, "feature": each, "route": routes[each]} for each in routes])
    written = [explanation(feature, explainer=each) for feature in routes for each in reversed(explainers)]
    for row in written:
        row["explanation"] = f"{row['explainer']} of {row['feature']}"
        if row["explainer"] == "default" and row["feature"] in (3, 4):
            row |= {"status": "refused", "explanation": None} if row["feature"] == 3 else {"is_chosen": False}
    ranked = [row | {"number": explainers.index(row["explainer"])} for row in written]
    database.fill("own_explanations", ranked)
    lent = {row["feature"]: row["explanation"] for row in database.rows("lent_explanations")}
    assert lent == {1: "default of 1", 2: "rule of 2", 3: "best_of_k of 3", 4: "best_of_k of 4"}
    # Rules are lent where scorers judge them, and nowhere else.
    database.fill("selected_features", selected(*routes))
    database.fill("explanations", written)
    database.make("batch_features")
    scored = {row["explanation"] for row in database.rows("scored_explanations")}
    assert scored >= {*lent.values()} and {each for each in scored if each.startswith("rule")} == {"rule of 2"}


def test_report_summary_is_of_one_sae_in_order():
    database = Database()
    database.fill(
        "summary",
        [
            {"sae": sae, "route": "llm", "explainer": explainer, "scorer": "detection", "mean": 0.5}
            for sae in (SAE, "layers.2")
            for explainer in ("empty", "default")
        ]
        + [
            {"sae": SAE, "route": "llm", "explainer": "default", "scorer": "zeal", "mean": 0.5, "n_features": 9},
        ],
    )
    database.fill("feature_routes", [{"sae": SAE, "feature": feature, "route": "llm"} for feature in (1, 2, 3)])
    database.fill(
        "score_details",
        [
            {
                "sae": SAE,
                "feature": feature,
                "explainer": "default",
                "scorer": "detection",
                "role": "test",
                "metric": "auroc",
                "weighting": "sample",
                "stratum": stratum,
                "value": value,
                "explanation_id": explanation_id,
            }
            for feature, stratum, value, explanation_id in (
                (1, "all", 0.9, "chosen"),
                (1, "same_token", 0.6, "chosen"),
                (1, "same_token", 0.1, "not chosen"),
                (2, "all", 0.8, "another"),
                (2, "same_token", 0.5, "another"),
                (3, "all", 0.4, "without such windows"),
            )
        ],
    )
    database.fill("explanations", [{"explanation_id": "not chosen", "is_chosen": False}])
    database.make_before("closing_summary")
    first, *rows = database.rows("closing_summary")
    assert first["scorer"] == "zeal", "whoever judged most features comes first"
    default, empty = rows
    assert (default["explainer"], default["n_same_token_features"]) == ("default", 2)
    same_token, of_the_same_features = default["same_token_auroc"], default["same_token_all"]
    assert (same_token, of_the_same_features) == pytest.approx((0.55, 0.85)), "like with like"
    assert [empty[name] for name in ("explainer", "same_token_auroc", "same_token_all")] == ["empty", None, None]
    assert empty["n_same_token_features"] == 0


def of(generation, *rows):
    return [row | {"generation": generation} for row in rows]


def after_growth(explanations, scores, **values):
    """The stale batches and the unfinished ones, of a corpus of two generations and batches of 4 features."""
    database = Database(selection_batch_size=4, **values)
    database.fill("documents", [{"doc_id": "old", "generation": 0}, {"doc_id": "new", "generation": 1}])
    database.fill("selected_features", [*selected(1, 2), *selected(5, batch=1)])
    database.fill("explanations", explanations)
    database.fill("scores", scores)
    database.make("stale_batches")
    stale = [(row["batch"], row["generation"]) for row in database.read("stale_batches")]
    return stale, [row["batch"] for row in database.rows("unfinished_batches")]


def test_a_batch_scored_before_documents_were_added_is_stale_and_not_open_though_a_feature_joined_it():
    explanations = [*of(0, explanation(1)), *of(1, explanation(5))]
    scores = [*of(0, score(1)), *of(1, score(5))]
    assert after_growth(explanations, scores) == ([(0, 0)], [])
    assert after_growth(explanations, scores, selection_remake_stale=True) == ([(0, 0)], [0])


def test_a_stale_batch_that_was_explained_anew_is_open_until_it_is_scored():
    explanations = of(1, explanation(1), explanation(2), explanation(5))
    assert after_growth(explanations, of(0, score(1), score(2)) + of(1, score(5))) == ([], [0])
    assert after_growth(explanations, of(1, score(1), score(2), score(5))) == ([], [])


def test_a_batch_that_was_explained_and_not_scored_before_is_open():
    assert after_growth(of(0, explanation(1), explanation(2), explanation(5)), of(0, score(5))) == ([(1, 0)], [0])
