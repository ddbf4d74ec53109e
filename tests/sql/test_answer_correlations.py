"""The correlation found between right answers about one document: simulated answers whose correlation is known."""

import numpy as np
import pyarrow as pa
import pytest

from .rows import SAE, Database


def correlations(right, document, explanations=()):
    """answer_correlations of answers [explanation, question] that are about documents [question]."""
    database = Database()
    database.fill("explanations", list(explanations))
    explanation, question = (each.ravel() for each in np.indices(right.shape))
    rows = {
        "explanation_id": explanation,
        "right": right.ravel(),
        "question": question,
        "document": document[question],
    }
    connection = database.connection
    connection.register("given_rows", pa.table({key: pa.array(value) for key, value in rows.items()}))
    connection.execute(f"""
        create or replace temp table question_answers as
        select '{SAE}' as sae, 'e' || explanation_id as explanation_id, 'fuzzing' as scorer, true as label,
            'd' || document as document, "right" as is_right, true as is_scored, explanation_id as feature,
            null::double as probability
        from given_rows
    """)
    connection.unregister("given_rows")
    return database.rows("answer_correlations")


@pytest.mark.parametrize("rho", [0.0, 0.1, 0.4])
def test_correlation_that_was_put_in_is_found(rho):
    rng = np.random.default_rng(3)
    document = np.repeat(np.arange(12), [1, 1, 1, 2, 2, 2, 3, 3, 1, 1, 2, 1])
    # Explanations differ in what they are worth, which is no correlation.
    rates = rng.uniform(0.5, 0.95, (4000, 1))
    together = rng.random((4000, 12)) < rates
    alone = rng.random((4000, 20)) < rates
    copies = rng.random((4000, 20)) < np.sqrt(rho)
    [row] = correlations(np.where(copies, together[:, document], alone), document)
    print(f"rho {rho}: found {row['rho']:.3f}")
    assert row["rho"] == pytest.approx(rho, abs=0.02)
    assert (row["n_questions"], row["n_repeated"]) == (4000 * 20, 4000 * 8)


def test_answers_about_a_document_that_always_agree_are_all_correlation():
    right = np.array([[True, True, False, False]])
    [row] = correlations(right, np.array([0, 0, 1, 1]))
    assert row["rho"] == 1.0


def test_nothing_is_told_without_a_repeated_document_or_a_wrong_answer():
    [row] = correlations(np.array([[True, False, True]]), np.arange(3))
    assert (row["rho"], row["n_repeated"]) == (None, 0)
    [row] = correlations(np.ones((2, 4), bool), np.array([0, 0, 1, 1]))
    assert row["rho"] is None


def test_grades_of_windows_of_a_document_are_correlated_apart_from_whether_the_feature_fires():
    database = Database()
    grades = {"activating": [2, 2, 1, 1], "random": [0, 0, 1, 1]}
    windows = [(kind, place, grade) for kind, some in grades.items() for place, grade in enumerate(some)]
    database.fill("explanations", [{"explanation_id": "e", "sae": SAE, "feature": 1}])
    database.fill(
        "examples",
        [
            {"example_id": f"{kind} {place}", "sae": SAE, "feature": 1, "kind": kind, "doc_id": f"d{place // 2}"}
            for kind, place, _ in windows
        ],
    )
    database.fill("predictions", [
        {"explanation_id": "e", "scorer": "graded", "example_id": f"{kind} {place}",
         "question_id": f"{kind} {place}", "values": [float(grade)], "status": "ok"}
        for kind, place, grade in windows
    ])  # fmt: skip
    database.make_before("answer_correlations")
    [row] = database.rows("answer_correlations")
    assert (row["scorer"], row["rho"], row["n_questions"], row["n_repeated"]) == ("graded", 1.0, 8, 4)


def test_answers_about_controls_are_left_out():
    right = np.array([[True, True, False, False], [True, False, True, False]])
    controls = [{"explanation_id": "e1", "explainer": "other_feature"}]
    [row] = correlations(right, np.array([0, 0, 1, 1]), controls)
    assert (row["rho"], row["n_explanations"]) == (1.0, 1)


def test_answers_of_a_scorer_that_judges_features_count_although_they_belong_to_the_empty_explanation():
    right = np.array([[True, True, False, False], [False, False, True, True]])
    controls = [{"explanation_id": f"e{number}", "explainer": "empty"} for number in range(2)]
    [row] = correlations(right, np.array([0, 0, 1, 1]), controls)
    assert (row["rho"], row["n_explanations"], row["n_repeated"]) == (1.0, 2, 4)
