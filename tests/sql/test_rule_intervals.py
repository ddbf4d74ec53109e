"""The intervals of rules' figures hold: simulated documents, of which tokens of one go together."""

import numpy as np
import pyarrow as pa
import pytest

from .rows import Database

N_RULES = 1500


def scored(fires, says, right, n_tokens) -> dict[str, np.ndarray]:
    """Figures of rules by what was counted in each of their documents, int64 [n_rules, n_documents] each."""
    n_rules, n_documents = fires.shape
    either, wrong, silent = fires + says, says - right, n_tokens - fires
    is_in = either > 0

    def total(values: np.ndarray) -> np.ndarray:
        return (values * is_in).sum(axis=1)

    sums = {
        "n_fired_documents": (fires > 0).sum(axis=1), "n_predicted_documents": (says > 0).sum(axis=1),
        "n_either_documents": is_in.sum(axis=1),
        "n_fired": total(fires), "n_predicted": total(says), "n_right": total(right),
        "right_right": total(right * right), "right_fired": total(right * fires),
        "fired_fired": total(fires * fires), "right_predicted": total(right * says),
        "predicted_predicted": total(says * says), "right_either": total(right * either),
        "either_either": total(either * either), "wrong_wrong": total(wrong * wrong),
        "wrong_silent": total(wrong * silent), "silent_silent": total(silent * silent),
        "tokens_tokens": total(np.full_like(fires, n_tokens**2)),
    }  # fmt: skip
    numbers = np.arange(n_rules)
    database = Database()
    documents = {"document_number": np.arange(n_documents), "role": ["test"] * n_documents}
    database.fill("corpus_documents", pa.table(documents | {"n_tokens": np.full(n_documents, n_tokens)}))
    database.fill("proved_rules", pa.table({"rule_id": numbers, "feature": numbers.astype(np.int32)}))
    database.fill("rule_sums", pa.table({"rule_id": numbers, "role": ["test"] * n_rules, **sums}))
    rows = database.table("rule_role_scores").sort_by("rule_id")
    return {name: rows[name].to_numpy() for name in rows.schema.names if rows[name].type == pa.float64()}


def shares(rng: np.random.Generator, mean: float, rho: float, size: tuple[int, int]) -> np.ndarray:
    """A share for each document, whose tokens then correlate by rho."""
    if not rho:
        return np.full(size, mean)
    return rng.beta(mean * (1 - rho) / rho, (1 - mean) * (1 - rho) / rho, size)


SIZES = {
    "alike": lambda rng, size: rng.geometric(0.3, size),  # coefficient of variation 0.8
    "skewed": lambda rng, size: 1 + rng.lognormal(2.0, 1.1, size).astype(np.int64),  # 1.5, as in the demo's corpus
}
"""How many tokens of a document a figure rests on."""

LEAST_COVERED = {"alike": 0.92, "skewed": 0.86}


@pytest.mark.parametrize("n_documents", [10, 40])
@pytest.mark.parametrize("rho", [0.0, 0.3])
@pytest.mark.parametrize("truth", [0.5, 0.7, 0.9, 0.97])
@pytest.mark.parametrize("sizes", SIZES)
def test_recall_precision_and_f1_are_in_their_intervals_as_often_as_promised(sizes, truth, rho, n_documents):
    rng = np.random.default_rng(1)
    size = N_RULES, n_documents
    fires, others = (SIZES[sizes](rng, size) for _ in range(2))
    right = rng.binomial(fires, shares(rng, truth, rho, size))
    wrong = rng.binomial(others, 1 - shares(rng, truth, rho, size))
    figures = scored(fires, right + wrong, right, 100_000)
    for name in ("recall", "precision", "f1"):  # each of which is the truth over all documents
        is_bounded = ~np.isnan(figures[f"{name}_low"])
        value, low, high = (figures[f"{name}{end}"][is_bounded] for end in ("", "_low", "_high"))
        assert is_bounded.mean() > 0.4 and (low <= value).all() and (value <= high).all()
        assert ((low <= truth) & (truth <= high)).mean() > LEAST_COVERED[sizes], name


def test_documents_that_all_agree_tell_no_spread():
    half = np.ones((1, 20), np.int64)
    [low], [high] = (scored(2 * half, half, half, 100)[f"recall_{end}"] for end in ("low", "high"))
    assert low == pytest.approx(0.299, abs=0.01) and high == pytest.approx(0.701, abs=0.01)


def test_a_figure_of_few_documents_has_no_interval():
    fires = np.ones((1, 30), np.int64)
    says = np.array([[1] * 2 + [0] * 28])
    figures = scored(fires, says, says, 100)
    assert np.isnan(figures["precision_low"]).all() and figures["precision"] == [1]
    assert not np.isnan(figures["recall_low"]).any()


def test_a_rule_that_is_never_wrong_is_not_less_sure_than_one_that_is_wrong_once():
    fires = np.ones((2, 100), np.int64)
    says = fires.copy()
    says[1, 0] += 1
    figures = scored(fires, says, fires, 256)
    never, once = figures["false_positive_rate_high"]
    assert 0 < never < once < 0.001
    never, once = figures["balanced_accuracy_low"]
    assert never >= once
