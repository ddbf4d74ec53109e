"""What is exported: which explanation stands for a feature, and how windows and firings are put."""

import json

import pytest

from .rows import CONFIG, SAE, Database, Document, Firing, fill_corpus, fill_firings

FIRST = CONFIG.explaining.explainers[0]


def explanation(explainer, feature=0, draw=0, status="ok", **changes):
    return {
        "explanation_id": f"{explainer} {feature} {draw}",
        "sae": SAE,
        "feature": feature,
        "explainer": explainer,
        "draw": draw,
        "explanation": f"{explainer} says {draw}" if status == "ok" else None,
        "status": status,
        **changes,
    }


def chosen(*rows, route="rule", **values):
    database = Database(explaining_explainers=["rule", "default", "keywords"], **values)
    database.fill("explanations", rows)
    database.fill("feature_routes", [{"sae": SAE, "feature": 0, "route": route}])
    database.make_before("chosen_explanations")
    return {row["feature"]: row["explanation"] for row in database.rows("chosen_explanations")}


def test_the_explainer_that_the_route_asks_for_stands_for_a_feature():
    each = [explanation(name) for name in ("keywords", "default", "rule")]
    assert chosen(*each) == {0: "rule says 0"}
    assert chosen(*each, route="llm") == {0: "default says 0"}
    refused = explanation("default", status="refused")
    assert chosen(each[0], refused, each[2], route="llm") == {0: "keywords says 0"}
    assert chosen(each[2], route="llm") == {0: "rule says 0"}
    assert chosen(each[0], explanation("rule", status="unparsed")) == {0: "keywords says 0"}
    assert chosen(*each, explainer="default") == {0: "default says 0"}


def test_the_first_draw_stands_for_a_feature_and_controls_for_none():
    assert chosen(explanation("default", draw=1), explanation("default")) == {0: "default says 0"}
    assert chosen(explanation("empty"), explanation("other_feature", feature=1)) == {}


def test_every_firing_is_in_one_bar_and_the_strongest_in_the_last():
    database = Database(first_feature=0, end_feature=2)
    stats = {"sae": SAE, "feature": 0, "n_active": 4, "max_activation": 4.0}
    database.fill("feature_stats", [stats, {"sae": SAE, "feature": 1, "n_active": 0}])
    firings = [
        {"sae": SAE, "feature": 0, "token_index": place, "activation": value}
        for place, value in enumerate([0.05, 0.15, 4.0, 4.0])
    ]
    database.fill("activations", firings)
    [row] = database.rows("feature_histograms")
    assert (row["feature"], row["heights"]) == (0, [1, 1, *[0] * 37, 2])
    assert (row["bar_middles"][0], row["bar_middles"][-1]) == pytest.approx((0.05, 3.95))


def window(number, peak, kind="activating", activations=None):
    return {
        "example_id": f"window {number}",
        "sae": SAE,
        "feature": 0,
        "peak": peak if kind == "activating" else None,
        "role": "test",
        "kind": kind,
        "decile": 1 if kind == "activating" else None,
        "token_ids": [0, 1],
        "activations": activations or [0.0, peak],
    }


def test_windows_have_texts_decimals_and_places_by_strength():
    database = Database()
    database.fill("tokens", [{"token_id": 0, "text": "a\0"}, {"token_id": 1, "text": " b"}])
    database.fill("examples", [window(0, 0.1), window(1, 2.0, activations=[2.0, 1.0]), window(2, 0.0, "random")])
    rows = {row["example_id"][-1]: row for row in database.rows("exported_windows")}
    assert [rows[number]["rank"] for number in "012"] == [2, 1, None]
    assert rows["0"]["texts"] == ["a ", " b"]
    assert (rows["0"]["activations"], rows["0"]["strongest"], rows["1"]["strongest"]) == ([0.0, 0.1], 1, 0)


def test_the_strongest_windows_of_the_index_are_exported_beside_the_examples():
    database = Database(8)
    tokens = [{"token_id": token_id, "text": f" {token_id}"} for token_id in range(8)]
    database.fill("tokens", tokens)
    fill_corpus(database, [Document("test" if n % 2 else "train", range(8)) for n in range(30)], slot_tokens=7)
    database.fill("tokens", tokens)
    fill_firings(database, [
        *(Firing(0, context, 3, 1.0 + context) for context in range(30)),
        Firing(0, 29, 5, 2.0), Firing(1, 29, 3, 9.0),
    ])  # fmt: skip
    index = [
        {
            "sae": SAE,
            "feature": feature,
            "context_id": context,
            "start": 1,
            "peak": 1.0 + context,
            "role": "test" if context % 2 else "train",
            "decile": 10,
            "rank": (31 - context) // 2,
        }
        for context in range(30)
        for feature in range(2)
    ]
    database.fill("example_index", index)
    weak = window(0, 1.0) | {"token_ids": list(range(1, 8)), "activations": [0.0, 0.0, 1.0, *[0.0] * 4]}
    database.fill("examples", [weak])
    rows = database.rows("exported_windows")
    assert {row["feature"] for row in rows} == {0}, "a feature without examples has no windows"
    ranked = sorted(rows, key=lambda row: row["rank"])
    assert [row["peak"] for row in ranked] == [*(1.0 + context for context in range(29, 9, -1)), 1.0]
    assert ranked[0]["texts"] == [f" {token_id}" for token_id in range(1, 8)]
    assert (ranked[0]["activations"], ranked[0]["strongest"]) == ([0.0, 0.0, 30.0, 0.0, 2.0, 0.0, 0.0], 2)
    assert {row["role"] for row in ranked[:20]} == {"train", "test"}


def test_windows_beyond_the_strongest_20_stand_in_a_tenth_of_the_firings():
    database = Database()
    database.fill("tokens", [{"token_id": 0, "text": "a"}, {"token_id": 1, "text": " b"}])
    deciles = [float(decile) for decile in range(1, 10)]
    stats = {"sae": SAE, "feature": 0, "max_activation": 20.0, "activation_deciles": deciles}
    database.fill("feature_stats", [stats])
    weak = [window(20, 0.5), window(21, 1.0), window(22, 9.5)]
    database.fill("examples", [*(window(number, 20.0) for number in range(20)), *weak])
    database.make_before("neuronpedia_windows")
    rows = {row["example_id"]: row for row in database.rows("neuronpedia_windows")}
    assert sum(row["is_top"] for row in rows.values()) == 20
    bounds = {row["peak"]: (row["low"], row["high"]) for row in rows.values() if not row["is_top"]}
    assert bounds == {0.5: (0.0, 1.0), 1.0: (1.0, 2.0), 9.5: (9.0, 20.0)}


GOOD = {
    "features": {"modelId": "m", "layer": "9-set", "index": "0", "pos_str": ["a"], "pos_values": [1.0]},
    "activations": {
        "id": "c", "modelId": "m", "layer": "9-set", "index": "0", "tokens": ["a", "b"], "values": [0.0, 2.0],
        "maxValue": 2.0, "maxValueTokenIndex": 1, "binMin": -1.0, "binMax": 2.0,
    },
    "explanations": {"modelId": "m", "layer": "9-set", "index": "0", "description": "words"},
    "uploads": {"modelId": "m", "source": "9-set", "features": [
        {"index": 0, "activations": [{"tokens": ["a"]}], "explanations": [{"text": "words"}], "topLogits": [1.0]}
    ]},
}  # fmt: skip
UPLOAD = GOOD["uploads"]["features"][0]


def faults(**changes):
    database = Database()
    for name, row in GOOD.items():
        database.fill(f"written_{name}", [row | changes.get(name, {})])
    return [row["fault"] for row in database.rows("neuronpedia_faults")]


def test_what_keeps_neuronpedias_rules_has_no_fault():
    assert faults() == []
    named = {"features": {"modelId": "llama3.1-8b"}, "explanations": {"modelId": "llama3.1-8b"}}
    assert faults(**named, activations={"modelId": "llama3.1-8b"}) == []  # as Llama Scope is called there


@pytest.mark.parametrize("words", ["a\0b", "\0" + "x" * 600])
def test_an_explanation_to_upload_has_no_nul_and_512_characters_at_most(words):
    database = Database()
    database.fill("exported_saes", [{"sae": SAE, "model_id": "m", "source_id": "1-set"}])
    database.fill("chosen_explanations", [{"sae": SAE, "feature": 0, "explainer": "default", "model": "m",
                                           "explanation": words}])  # fmt: skip
    database.fill("feature_stats", [{"sae": SAE, "feature": 0, "density": 0.1, "max_activation": 1.0,
                                     "activation_deciles": [0.1] * 9}])  # fmt: skip
    database.fill("tokens", [{"token_id": 0, "text": "a"}, {"token_id": 1, "text": " b"}])
    database.fill("examples", [window(0, 1.0)])
    database.make("exported_windows", "neuronpedia_windows")
    [row] = database.rows("neuronpedia_uploads")
    [[said]] = [each["explanations"] for each in json.loads(row["text"])["features"]]
    assert said["text"] == words.replace("\0", " ") or said["text"] == " " + "x" * 510 + "…"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"features": {"layer": "set"}}, "a model or source"),
        ({"features": {"layer": "9-set.1"}}, "a model or source"),
        ({"features": {"modelId": "google/gemma"}}, "a model or source"),
        ({"features": {"pos_values": []}}, "lists of tokens"),
        ({"features": {"index": "1"}}, "a window of no feature"),
        ({"activations": {"values": [2.0]}}, "as many values"),
        ({"activations": {"maxValueTokenIndex": 0}}, "as many values"),
        ({"activations": {"binMin": 3.0, "binMax": 4.0}}, "as many values"),
        ({"explanations": {"description": " "}}, "no words"),
        ({"uploads": {"features": [UPLOAD] * 129}}, "more than 128"),
        ({"uploads": {"features": [UPLOAD | {"activations": []}]}}, "no window"),
        ({"uploads": {"features": [UPLOAD | {"explanations": [{"text": "x" * 513}]}]}}, "no window"),
        ({"uploads": {"features": [UPLOAD | {"topLogits": [1.0] * 21}]}}, "no window"),
    ],
)
def test_what_breaks_a_rule_of_neuronpedias_is_a_fault(changes, fault):
    assert [each for each in faults(**changes) if each.startswith(fault)]
