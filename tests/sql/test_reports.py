"""What the report reads: the funnel of routes, a few features of each, the best and the worst explanations."""

import pytest

from .rows import SAE, Database


def routed_database(routes, selected=()):
    database = Database()
    database.fill(
        "feature_routes",
        [
            {"sae": SAE, "feature": feature, "route": route, "reason": f"reason {feature}"}
            for feature, route in enumerate(routes)
        ],
    )
    database.fill(
        "feature_stats",
        [
            {
                "sae": SAE,
                "feature": feature,
                "n_active": 10 * feature,
                "top_tokens": [{"token_id": token_id} for token_id in range(feature)],
            }
            for feature in range(len(routes))
        ],
    )
    database.fill(
        "selected_features", [{"sae": SAE, "feature": feature, "batch": 0, "priority": 0} for feature in selected]
    )
    return database


def test_a_feature_is_told_by_the_chosen_draw_and_else_by_its_rule():
    database = routed_database(["llm", "rule", "llm"])
    database.fill(
        "feature_rules",
        [{"sae": SAE, "feature": 1, "rule": "the token is 'a'", "train_f1": 0.9, "is_chosen": True}],
    )
    database.fill(
        "explanations",
        [
            {
                "sae": SAE,
                "feature": 0,
                "explainer": "best_of_k",
                "draw": draw,
                "is_chosen": draw == 1,
                "status": "ok",
                "explanation": f"draw {draw}",
            }
            for draw in range(3)
        ],
    )
    database.make_before("features_in_words", explaining_explainers=["best_of_k"])
    rows = database.rows("features_in_words")
    words = {row["feature"]: row["words"] for row in rows}
    assert words == {0: "draw 1", 1: "the token is 'a'", 2: "(not explained)"}


def test_funnel_counts_features_and_selected_ones_by_route():
    database = routed_database(["llm", "llm", "rule", "dead"], selected=[1])
    found = {row.pop("route"): row for row in database.rows("closing_funnel")}
    assert found == {
        "llm": {"n_features": 2, "share": 0.5, "n_selected": 1},
        "rule": {"n_features": 1, "share": 0.25, "n_selected": 0},
        "dead": {"n_features": 1, "share": 0.25, "n_selected": 0},
    }


def test_report_lists_selected_features_of_a_route_before_others_and_no_dead_ones():
    database = routed_database(["llm"] * 7 + ["dead"], selected=[5, 6])
    rows = database.rows("closing_features")
    assert [(row["route"], row["feature"], row["reason"]) for row in rows] == [
        ("llm", 0, "reason 0"),
        ("llm", 1, "reason 1"),
        ("llm", 5, "reason 5"),
        ("llm", 6, "reason 6"),
    ]
    assert [row["n_active"] for row in rows] == [0, 10, 50, 60]
    assert [len(row["top_tokens"]) for row in rows] == [0, 1, 3, 3]


def test_reports_of_another_sae_are_empty():
    database = routed_database(["llm"])
    assert database.rows("closing_features", sae="other") == []
    assert database.rows("closing_funnel", sae="other") == []


@pytest.mark.parametrize(
    ("routes", "verdict"),
    [
        ([(8, 0.5, 0.46, 0.54), (8, 0.5, 0.46, 0.54)], ("at chance", 16, 0.5, 0.472)),
        ([(8, 0.4, 0.3, 0.5)], ("at chance", 8, 0.4, 0.3)),  # under chance is no sign that words were not needed
        ([(8, 0.6, 0.5, 0.7), (24, 0.64, 0.6, 0.68)], ("above chance", 32, 0.63, 0.591)),
        ([(8, 0.5, 0.3, 0.7)], ("too few to tell", 8, 0.5, 0.3)),
        ([(8, 0.5, 0.46, 0.54), (2, 0.9, None, None)], ("at chance", 8, 0.5, 0.46)),
        ([(2, 0.9, None, None)], ("too few to tell", 0, None, None)),
    ],
)
def test_controls_are_at_chance_or_above_it_or_too_few_to_tell(routes, verdict):
    database = Database()
    database.fill(
        "summary",
        [
            {
                "sae": SAE,
                "route": f"r{at}",
                "explainer": explainer,
                "scorer": "detection",
                "chance": 0.5,
                "n_features": n,
                "mean": mean,
                "ci_low": low,
                "ci_high": high,
            }
            for explainer in ("other_feature", "default")
            for at, (n, mean, low, high) in enumerate(
                routes if explainer == "other_feature" else [(9, 0.9, 0.8, 1.0)]
            )
        ],
    )
    [row] = database.rows("control_verdicts")
    assert row["n_left_out"] == sum(n for n, _, low, _ in routes if low is None)
    found = (row["verdict"], row["n_features"], row["mean"], row["low"])
    assert found == pytest.approx(verdict, abs=1e-3) if verdict[2] else found == verdict


def test_controls_on_a_features_page_are_those_of_its_route():
    database = Database(explaining_explainers=["default"])
    database.fill(
        "summary",
        [
            {
                "sae": SAE,
                "route": route,
                "explainer": explainer,
                "scorer": "detection",
                "n_features": n,
                "mean": mean,
            }
            for route, explainer, n, mean in (
                ("llm", "empty", 4, 0.5),
                ("rule", "empty", 3, 0.6),
                ("llm", "default", 9, 0.9),
                ("llm", "other_feature", 0, None),
            )
        ],
    )
    for route, mean in (("llm", 0.5), ("rule", 0.6)):
        [row] = database.rows("control_scores", route=route)
        assert (row["scorer"], row["explainer"], row["mean"]) == ("detection", "empty", mean)
    assert database.rows("control_scores", route="positional") == []


def test_a_control_has_one_verdict_though_routes_differ_in_the_last_digit_of_chance():
    database = Database()
    database.fill(
        "summary",
        [
            {
                "sae": SAE,
                "route": route,
                "explainer": "other_feature",
                "scorer": "intervention",
                "metric": "accuracy",
                "chance": chance,
                "n_features": 30,
                "mean": 0.35,
                "ci_low": 0.3,
                "ci_high": 0.4,
            }
            for route, chance in (("llm", 0.333333333333333), ("rule", 0.33333333333333304))
        ],
    )
    [row] = database.rows("control_verdicts")
    assert (row["scorer"], row["n_features"], row["verdict"]) == ("intervention", 60, "at chance")


def test_failures_are_counted_by_reason_and_what_was_answered_is_none():
    database = Database()
    statuses = ["http_error", "http_error", "ok", "too_long", "unparsed"]
    database.fill(
        "explanations",
        [
            {"explanation_id": "a", "sae": SAE, "status": "http_error", "request_id": "explain"},
            {"explanation_id": "b", "sae": "other", "status": "http_error", "request_id": "elsewhere"},
        ],
    )
    database.fill(
        "predictions",
        [
            # Two questions of one request are one failure.
            {"explanation_id": "a", "question_id": f"{number}{copy}", "status": status, "request_id": f"r{number}"}
            for number, status in enumerate(statuses)
            for copy in "xy"
        ],
    )
    reasons = {"explain": "HTTP 400: too long", "elsewhere": "HTTP 400: too long", "r3": "no answer"}
    reasons |= {"r0": "HTTP 500: batch 17", "r1": "HTTP 500: batch 8"}
    database.fill(
        "llm_requests",
        [
            {"request_id": each, "purpose": "explain" if each[0] == "e" else "detection", "error": error}
            for each, error in {**{f"r{i}": "HTTP 500" for i in range(5)}, **reasons}.items()
        ],
    )
    assert [tuple(row.values()) for row in database.rows("closing_failures")] == [
        ("detection", "HTTP 500: batch 17", 2),
        ("detection", "no answer", 1),
        ("explain", "HTTP 400: too long", 1),
    ]


def ranked_database(scores):
    """`scores`: (explanation, explainer, scorer, value, half of its interval)."""
    database = Database()
    names = {(name, explainer) for name, explainer, *_ in scores}
    database.fill(
        "explanations",
        [
            {
                "explanation_id": name,
                "sae": SAE,
                "feature": int(name[1:]),
                "explainer": explainer,
                "explanation": name,
            }
            for name, explainer in sorted(names)
        ],
    )
    database.fill(
        "scores",
        [
            {
                "explanation_id": name,
                "sae": SAE,
                "feature": int(name[1:]),
                "explainer": explainer,
                "scorer": scorer,
                "role": "test",
                "f1": 0.9,
                "balanced_accuracy": value,
                "ci_low": half and value - half,
                "ci_high": half and value + half,
            }
            for name, explainer, scorer, value, half in scores
        ],
    )
    database.make_before("closing_best")
    return database


def test_the_best_explanation_is_no_lucky_one():
    told = [(f"e{i}", "default", "detection", 0.5 + 0.05 * i, 0.02) for i in range(6)]
    lucky = ("e9", "rule", "detection", 0.9, 0.5)
    controls = [(f"e{i}", name, "detection", 0.99, 0.01) for i, name in ((7, "empty"), (8, "a_control_to_come"))]
    rows = ranked_database([*told, lucky, *controls]).rows("closing_best", n=2)
    assert [row["explanation"] for row in rows if row["is_best"]] == ["e5", "e4"]
    assert [row["explanation"] for row in rows if not row["is_best"]] == ["e0", "e1"]
    [shrunken] = [row["shrunken"] for row in rows if row["explanation"] == "e5"]
    assert 0.7 < shrunken < 0.75
    rows = ranked_database([*told, lucky]).rows("closing_best", n=9)
    assert len(rows) == 7 and all(row["is_best"] for row in rows)
    values = [row["value"] for row in rows]
    mean = sum(values) / 7
    assert all(abs(row["shrunken"] - mean) < abs(row["value"] - mean) for row in rows)


@pytest.mark.parametrize("half", [0.02, 0.5])
def test_a_score_without_an_interval_leads_no_ranking(half):
    # With an interval of 0.5 no true values are told apart, and all are shrunken alike.
    told = [(f"e{i}", "default", "detection", 0.5 + 0.05 * i, half) for i in range(6)]
    lucky = [(f"e{i}", "default", "detection", value, None) for i, value in ((7, 0.99), (8, 0.01))]
    rows = ranked_database([*told, *lucky]).rows("closing_best", n=2)
    assert [row["explanation"] for row in rows if row["is_best"]] == ["e5", "e4"]
    assert [row["explanation"] for row in rows if not row["is_best"]] == ["e0", "e1"]
    rows = ranked_database([*told, *lucky]).rows("closing_best", n=9)
    mean = sum(row["value"] for row in rows) / 8
    assert [row["shrunken"] for row in rows if row["low"] is None] == pytest.approx([mean, mean])


def test_a_draw_that_was_not_chosen_is_in_no_ranking():
    told = [(f"e{i}", "default", "detection", 0.5 + 0.05 * i, 0.02) for i in range(6)]
    database = ranked_database(told)
    rows = database.read("explanations")
    database.fill("explanations", [{**row, "is_chosen": row["explanation_id"] != "e5"} for row in rows])
    database.make_before("closing_best")
    assert [row["explanation"] for row in database.rows("closing_best", n=1)] == ["e4", "e0"]
    database.make_before("report_distributions")
    told = database.rows("report_distributions", explaining_explainers=["default"])
    assert sorted(row["feature"] for row in told) == [0, 1, 2, 3, 4]


def test_a_ranking_is_by_the_scorer_of_most_explanations_with_the_rules_exact_score_beside():
    scores = [("e1", "rule", "embedding", 0.8, 0.1), ("e2", "rule", "embedding", 0.7, 0.1)]
    exact = [(f"e{i}", "rule", "rule_exact", 0.9, 0.1) for i in (1, 2, 3)]
    database = ranked_database([*scores, *exact, ("e1", "rule", "detection", 0.5, 0.1)])
    database.fill(
        "examples",
        [
            {
                "example_id": f"x{peak}",
                "sae": SAE,
                "feature": 1,
                "role": "test",
                "kind": "activating",
                "peak": peak,
                "token_ids": [int(peak)],
                "activations": [peak],
            }
            for peak in (1.0, 3.0, 2.0)
        ],
    )
    rows = database.rows("closing_best", n=1)
    assert [(row["explanation"], row["scorer"], row["rule_f1"]) for row in rows] == [
        ("e1", "embedding", 0.9),
        ("e2", "embedding", 0.9),
    ]
    assert [row["token_ids"] for row in rows] == [[3], None]
