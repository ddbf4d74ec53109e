"""What the report reads: the funnel of routes, and a few features of each."""

from .rows import SAE, Database


def routed_database(routes, selected=()):
    database = Database()
    database.fill("feature_routes", [
        {"sae": SAE, "feature": feature, "route": route, "reason": f"reason {feature}"}
        for feature, route in enumerate(routes)
    ])
    database.fill("feature_stats", [
        {
            "sae": SAE, "feature": feature, "n_active": 10 * feature,
            "top_tokens": [{"token_id": token_id} for token_id in range(feature)],
        }
        for feature in range(len(routes))
    ])
    database.fill("selected_features", [
        {"sae": SAE, "feature": feature, "batch": 0, "priority": 0} for feature in selected
    ])
    return database


def test_funnel_counts_features_and_selected_ones_by_route():
    database = routed_database(["llm", "llm", "rule", "dead"], selected=[1])
    found = {row.pop("route"): row for row in database.rows("report_funnel")}
    assert found == {
        "llm": {"n_features": 2, "share": 0.5, "n_selected": 1},
        "rule": {"n_features": 1, "share": 0.25, "n_selected": 0},
        "dead": {"n_features": 1, "share": 0.25, "n_selected": 0},
    }


def test_report_lists_selected_features_of_a_route_before_others_and_no_dead_ones():
    database = routed_database(["llm"] * 7 + ["dead"], selected=[5, 6])
    rows = database.rows("report_features")
    assert [(row["route"], row["feature"], row["reason"]) for row in rows] == [
        ("llm", 0, "reason 0"), ("llm", 1, "reason 1"), ("llm", 5, "reason 5"), ("llm", 6, "reason 6"),
    ]
    assert [row["n_active"] for row in rows] == [0, 10, 50, 60]
    assert [len(row["top_tokens"]) for row in rows] == [0, 1, 3, 3]


def test_reports_of_another_sae_are_empty():
    database = routed_database(["llm"])
    assert database.rows("report_features", sae="other") == []
    assert database.rows("report_funnel", sae="other") == []
