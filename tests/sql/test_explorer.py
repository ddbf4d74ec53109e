"""What the explorer asks: rows in, rows out."""

from hashlib import sha256

import numpy as np
import pytest
from scipy.stats import pearsonr

from .rows import SAE, Database

FEATURES = range(4)


@pytest.fixture(scope="module")
def database():
    """Four features: 0 has an explanation by a model, the second of its draws, and a rule, 1 a rule, 2 none.

    3 never fires.
    """
    found = Database(scorer=None)
    found.fill(
        "feature_stats",
        [
            {
                "sae": SAE,
                "feature": feature,
                "n_active": 0 if feature == 3 else 10,
                "density": [0.1, 0.01, 0.001, 0][feature],
                "max_activation": None if feature == 3 else feature + 1.0,
                "top_tokens": [{"text": text} for text in (" Stop", "\n")] if feature < 2 else [],
            }
            for feature in FEATURES
        ],
    )
    routes = ("llm", "rule", "llm", "dead")
    found.fill("feature_routes", [{"sae": SAE, "feature": each, "route": routes[each]} for each in FEATURES])
    words = [
        ("a", 0, "default", "Verbs of Stopping"),
        ("b", 0, "rule", "the token stop"),
        ("c", 1, "rule", "stop"),
    ]
    found.fill(
        "explanations",
        [
            {
                "explanation_id": name,
                "sae": SAE,
                "feature": feature,
                "explainer": explainer,
                "draw": int(name == "a"),
                "is_chosen": name != "draft",
                "status": "ok",
                "explanation": text,
            }
            for name, feature, explainer, text in [
                *words,
                ("d", 1, "other_feature", "a control: verbs"),
                ("draft", 0, "default", "a draft"),
            ]
        ]
        + [
            {
                "explanation_id": "e",
                "sae": SAE,
                "feature": 2,
                "explainer": "default",
                "draw": 0,
                "status": "refused",
            }
        ],
    )
    found.fill(
        "scores",
        [
            {
                "explanation_id": name,
                "sae": SAE,
                "feature": feature,
                "explainer": explainer,
                "scorer": scorer,
                "role": role,
                "balanced_accuracy": value,
            }
            for name, feature, explainer, scorer, role, value in [
                ("a", 0, "default", "detection", "test", 0.9),
                ("b", 0, "rule", "detection", "test", 0.6),
                ("c", 1, "rule", "detection", "test", 0.7),
                ("c", 1, "rule", "rule_exact", "test", 1.0),
                ("a", 0, "default", "fuzzing", "test", 0.5),
            ]
        ],
    )
    found.make_before("found_features", explaining_explainers=["rule", "default"])
    return found


def found(database, **values):
    return [row["feature"] for row in database.rows("found_features", **values)]


def test_explained_features_come_first_with_their_model_and_its_main_score(database):
    rows = database.rows("found_features")
    assert [(row["feature"], row["explainer"], row["scorer"], row["value"]) for row in rows] == [
        (0, "default", "detection", 0.9),
        (1, "rule", "detection", 0.7),
        (2, None, None, None),
        (3, None, None, None),
    ]
    assert {row["n_found"] for row in rows} == {4}


@pytest.mark.parametrize(
    ("values", "features"),
    [
        ({"words": ["stop"]}, [0, 1]),
        ({"words": ["stop", "verbs"]}, [0]),  # a control is not searched
        ({"words": ["verbs"], "explainer": "rule"}, []),
        ({"tokens": ["·stop", "stop"]}, [0, 1]),
        ({"tokens": ["\n"]}, [0, 1]),
        ({"tokens": ["sto"]}, []),
        ({"route": "llm"}, [0, 2]),
        ({"is_explained": True}, [0, 1]),
        ({"explainer": "default"}, [0]),
        ({"scorer": "rule_exact"}, [1]),
        ({"scorer": "fuzzing"}, [0]),
        ({"least_score": 0.8}, [0]),
        ({"most_score": 0.8}, [1]),
        ({"least_density": 0.01}, [0, 1]),
        ({"most_density": 0.001}, [2, 3]),
        ({"sort": "lowest_score"}, [1, 0, 2, 3]),
        ({"sort": "rarest"}, [2, 1, 0, 3]),
        ({"sort": "activation"}, [2, 1, 0, 3]),
        ({"page_rows": 1, "first_row": 1}, [1]),
        ({"sae": "another"}, []),
    ],
)
def test_filters_and_orders(database, values, features):
    assert found(database, **values) == features


def test_an_explainer_shows_its_own_explanation_and_score(database):
    [first, _] = database.rows("found_features", explainer="rule")
    assert (first["explanation"], first["value"]) == ("the token stop", 0.6)


def test_by_meaning_the_nearest_explanation_of_each_feature_is_shown(database):
    near = [("stop", 0.9), ("the token stop", 0.7), ("Verbs of Stopping", 0.4), ("a control: verbs", 1.0)]
    database.fill("near_meanings", [{"explanation": text, "similarity": value} for text, value in near])
    asked = {"is_by_meaning": True, "sort": "meaning"}
    rows = database.rows("found_features", **asked)
    assert [(row["feature"], row["explanation"], row["value"]) for row in rows] == [
        (1, "stop", 0.7),
        (0, "the token stop", 0.6),
    ]
    assert [row["similarity"] for row in rows] == pytest.approx([0.9, 0.7])
    [row] = database.rows("found_features", explainer="default", **asked)
    assert (row["explanation"], row["value"]) == ("Verbs of Stopping", 0.9)
    database.fill("near_meanings", [])
    assert database.rows("found_features", **asked) == []


def test_the_nearest_texts_are_those_of_largest_cosine():
    database = Database()
    vectors = {"same": [3.0, 0.0], "across": [0.0, 1.0], "against": [-1.0, 0.0], "between": [1.0, 1.0]}
    database.fill("meanings", [{"explanation": name, "vector": vector} for name, vector in vectors.items()])
    database.fill("asked_meaning", [{"explanation": "asked", "vector": [1.0, 0.0]}])
    rows = database.rows("nearest_texts", n=3)
    assert [row["explanation"] for row in rows] == ["same", "between", "across"]
    assert [row["similarity"] for row in rows] == pytest.approx([1, 0.5**0.5, 0])


def test_of_several_draws_the_chosen_one_is_shown():
    own = Database()
    own.fill(
        "explanations",
        [
            {
                "explanation_id": str(draw),
                "sae": SAE,
                "feature": 0,
                "explainer": "default",
                "draw": draw,
                "explanation": f"draw {draw}",
                "status": "ok",
                "is_chosen": draw == 1,
            }
            for draw in range(3)
        ],
    )
    own.make_before("explanation_index", explaining_explainers=["default"])
    rows = own.rows("explanation_index", explaining_explainers=["default"])
    places = {row["draw"]: (row["is_shown"], row["rank"], row["own_rank"]) for row in rows}
    assert places == {0: (False, None, None), 1: (True, 1, 1), 2: (False, None, None)}


def explained(number, explainer="default"):
    """Explanation `number`, of the feature of that number."""
    return {"explanation_id": f"{number}", "sae": SAE, "feature": number, "explainer": explainer, "draw": 0,
            "explanation": f"words {number}", "status": "ok"}  # fmt: skip


def of_words(explanation_id, **rating):
    """A rating of an explanation's words."""
    shown = sha256(f"words {explanation_id}".encode()).hexdigest()
    return {"explanation_id": explanation_id, "explanation_sha256": shown} | rating


def test_of_two_readers_the_last_verdicts_are_compared():
    database = Database()
    # Of ten explanations rated by both, eight alike: p = 0.8; each says "fits" to half: c = 0.5, kappa = 0.6.
    one = ["fits"] * 5 + ["wrong"] * 5
    other = ["fits"] * 4 + ["wrong"] * 5 + ["fits"]
    database.fill("explanations", [explained(n) for n in range(10)])
    lines = [(str(n), "Ada", "unreadable", "2026-01-01") for n in range(3)]
    lines += [(str(n), "Ada", verdict, "2026-01-02") for n, verdict in enumerate(one)]
    lines += [(str(n), "Grace", verdict, "2026-01-02") for n, verdict in enumerate(other)]
    lines += [("0", "Lin", "fits", "2026-01-02")]
    names = ("explanation_id", "rater", "verdict", "rated_at")
    database.fill("ratings", [of_words(**dict(zip(names, line, strict=True))) for line in lines])
    database.make_before("rater_agreements")
    rows = {(row["rater"], row["other_rater"]): row for row in database.rows("rater_agreements")}
    pair = rows["Ada", "Grace"]
    assert (pair["n"], pair["agreed"]) == (10, 0.8)
    assert pair["kappa"] == pytest.approx(0.6)
    # Wilson's interval of 8 of 10 is 0.490 to 0.943; twice that, less 1.
    assert (pair["kappa_low"], pair["kappa_high"]) == pytest.approx((-0.020, 0.887), abs=0.001)
    few = rows["Ada", "Lin"]
    assert few["kappa"] is few["kappa_low"] is few["kappa_high"] is None


def scored_and_rated(values, verdicts):
    """Scores of features 0, 1, …, and of each what readers said; by scorer, with a control that is left out."""
    database = Database(explaining_explainers=["default"], scoring_z=1.96)
    explainers = ["default"] * len(values) + ["other_feature"]
    database.fill(
        "scores",
        [
            {
                "explanation_id": f"{feature}",
                "sae": SAE,
                "feature": feature,
                "explainer": explainer,
                "role": "test",
                "scorer": "detection",
                "balanced_accuracy": value,
            }
            for feature, (value, explainer) in enumerate(zip([*values, 0.0], explainers, strict=True))
        ],
    )
    database.fill("explanations", [explained(*each) for each in enumerate(explainers)])
    database.fill(
        "ratings",
        [
            of_words(f"{feature}", rater=f"reader {number}", verdict=verdict, rated_at="2026")
            for feature, said in enumerate([*verdicts, ["fits"]])
            for number, verdict in enumerate(said)
        ],
    )
    database.make_before("scorers_and_readers")
    return database.rows("scorers_and_readers")


def test_a_scorer_is_held_against_the_share_of_readers_for_whom_an_explanation_fits():
    values = [0.9, 0.8, 0.6, 0.55, 0.5]
    verdicts = [["fits", "fits"], ["fits", "wrong"], ["fits", "too_broad"], ["wrong"], ["wrong", "unreadable"]]
    [row] = scored_and_rated(values, verdicts)
    r = pearsonr(values, [1, 0.5, 0.5, 0, 0]).statistic
    assert (row["scorer"], row["n_explanations"], row["n_verdicts"]) == ("detection", 5, 9)
    ends = np.tanh(np.arctanh(r) + 1.96 / np.sqrt(2) * np.array([-1, 1]))
    assert (row["pearson"], row["pearson_low"], row["pearson_high"]) == pytest.approx((r, *ends))


def test_of_three_features_or_of_one_mind_no_correlation_is_told():
    [few] = scored_and_rated([0.9, 0.8, 0.5], [["fits"], ["fits"], ["wrong"]])
    [alike] = scored_and_rated([0.9, 0.8, 0.6, 0.5], [["fits"]] * 4)
    assert (few["pearson"], few["pearson_low"]) == (None, None) == (alike["pearson"], alike["pearson_low"])


def test_a_reader_is_shown_what_has_words_and_is_not_rated_yet(database):
    def left(rater, seen=()):
        ratings = [{name: row[name] for name in ("explanation_id", "explanation_sha256")} for row in seen]
        database.fill("ratings", [each | {"rater": "Ada", "rated_at": "2026"} for each in ratings])
        database.make("last_ratings")
        return database.rows("next_to_rate", rater=rater)

    seen = []
    while rows := left("Ada", seen):
        seen += rows
    names = [row["explanation_id"] for row in seen]
    assert sorted(names) == ["a", "b", "c", "d"]  # the control too, not a draft and not the one that was refused
    assert left("Grace", seen)[0]["explanation_id"] == names[0]
    other = seen[0] | {"explanation_sha256": seen[1]["explanation_sha256"]}  # of other words than it has now
    assert left("Ada", [other, *seen[1:]])[0]["explanation_id"] == names[0]


def test_a_window_of_the_index_has_the_tokens_of_its_slot_and_what_fired_there():
    database = Database()
    context = list(range(100, 108))
    database.fill("contexts", [{"context_id": 0, "doc_id": "d", "shard": 0, "token_ids": context}])
    database.fill("slots", [{"context_id": 0, "start": start, "n_tokens": 3} for start in (1, 4)])
    database.fill(
        "example_index",
        [
            {
                "sae": SAE,
                "feature": 0,
                "context_id": 0,
                "start": start,
                "peak": peak,
                "role": "test",
                "draw": 1,
                "decile": 10,
            }
            for start, peak in ((1, 5.0), (4, 2.0))
        ],
    )
    database.fill(
        "activations",
        [
            {"sae": SAE, "feature": 0, "token_index": place, "activation": value}
            for place, value in ((0, 9.0), (2, 5.0), (4, 2.0), (7, 1.0))
        ],
    )
    first, second = database.rows("indexed_windows")
    assert (first["token_ids"], first["activations"]) == ([101, 102, 103], [0, 5, 0])
    assert (second["token_ids"], second["activations"]) == ([104, 105, 106], [2, 0, 0])
    assert (first["n_of_kind"], first["n_alike"]) == (2, 2)
    assert len(database.rows("indexed_windows", strongest=1, of_a_decile=1)) == 1


def test_activations_and_positions_are_counted_in_32_bins():
    database = Database(context_length=64)
    database.fill(
        "activations",
        [
            {"sae": SAE, "feature": 0, "token_index": place, "activation": value}
            for place, value in ((0, 32.0), (1, 0.5), (63, 31.5), (64, 1.0))
        ],
    )
    assert [(row["bin"], row["n"]) for row in database.rows("activation_histogram")] == [(0, 1), (1, 1), (31, 2)]
    assert [(row["bin"], row["n"]) for row in database.rows("position_profile")] == [(0, 3), (31, 1)]
