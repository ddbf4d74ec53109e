"""Sequential scoring: which questions come next, when they end, and that the interval at the end still holds.

Scorers of known rates answer simulated questions; what is asked, and the interval, are the pipeline's own SQL.
"""

from functools import cache

import numpy as np
import pyarrow as pa
import pytest

from .rows import SAE, Database
from .score_reference import fill_index

pytestmark = pytest.mark.whole

ANSWERED = ("question_answers", "rate_intervals", "balanced_accuracies")
RATES = ((0.5, 0.5), (0.6, 0.6), (0.7, 0.8), (0.9, 0.6), (0.8, 0.8), (0.95, 0.9), (0.95, 0.98), (0.99, 0.995))
N_EXPLANATIONS = (150, 150, 150, 150, 1000, 150, 150, 150)
"""Of each; more where the bias is largest, 0.009 in 20,000 of them."""
N_QUESTIONS = 60
TARGET = 0.1


class Scoring:
    """Explanations with n questions of each answer, the scorer's answers known beforehand, in a database.

    `right[e, side, n]` says whether explanation e's n-th question of a side (0: yes, 1: no) is answered rightly,
    `document[side, n]` (or `[e, side, n]`) which document of the side it is about, `ok` (like right) whether it is
    answered at all.
    """

    def __init__(self, right, document=None, ok=None, **values):
        n_explanations, _, n = right.shape
        document = np.tile(np.arange(n), (2, 1)) if document is None else document
        ok = np.ones_like(right) if ok is None else ok
        self.database = Database(**{"scoring_n_questions": n, "scorer": "detection"} | values)
        self.database.fill("predictions", [])
        explanation, side, place = (each.ravel() for each in np.indices(right.shape))
        self._put(
            "truths",
            {
                "explanation": explanation,
                "side": side,
                "place": place,
                "right": right.ravel(),
                "ok": ok.ravel(),
                "document": np.broadcast_to(document, right.shape).ravel(),
            },
        )
        self.database.connection.execute(f"""
            create or replace temp table scored_explanations as
                select 'e' || range as explanation_id, range::int as feature, 'words' as explanation
                from range({n_explanations});
            create or replace temp table explanations as
                select explanation_id, '{SAE}' as sae, feature, 'default' as explainer from scored_explanations;
            create or replace temp table own_questions as
                select 'e' || explanation as explanation_id, explanation::int as feature,
                    md5(concat_ws(' ', explanation, side, place)) as question_id,
                    concat_ws(' ', explanation, side, place) as example_id, null::int[] as marked,
                    side = 0 as label, place + 1 as draw
                from truths;
            create or replace temp table examples as
                select concat_ws(' ', explanation, side, place) as example_id, '{SAE}' as sae,
                    explanation::int as feature, 'test' as role, [1] as token_ids,
                    if(side = 0, 'activating', if(place % 2 = 0, 'random', 'same_token')) as kind,
                    if(side = 0, place % 10 + 1, null)::tinyint as decile,
                    if(side = 0, 100, if(place % 2 = 0, 18000, 2000)) as n_slots,
                    concat_ws(' ', explanation, side, document) as doc_id,
                    null::int as n_document_slots, null::double as reach
                from truths
        """)
        self.database.make("questions")

    def _put(self, name, columns):
        connection = self.database.connection
        connection.register("given_columns", pa.table({key: pa.array(value) for key, value in columns.items()}))
        connection.execute(f"create or replace temp table {name} as from given_columns")
        connection.unregister("given_columns")

    def next_round(self):
        """The questions of the next round, as rows."""
        self.database.make(*ANSWERED)
        return self.database.table("next_questions")

    def answer(self, questions, failure="refused"):
        """Answer them, as the scorer does; those without an answer have the status `failure`."""
        self.database.connection.register("given_questions", questions)
        self.database.connection.execute(f"""
            insert into predictions by name
            select q.explanation_id, q.scorer, 'test' as role, q.question_id, q.example_id, q.label,
                if(t.ok, q.label = t.right, null) as prediction, if(t.ok, 'ok', '{failure}') as status
            from given_questions as q
            join truths as t on q.example_id = concat_ws(' ', t.explanation, t.side, t.place)
        """)
        self.database.connection.unregister("given_questions")

    def rounds(self):
        """Ask until nothing is left to ask; the questions of each round."""
        while (questions := self.next_round()).num_rows:
            yield questions.to_pylist()
            self.answer(questions)

    def end(self):
        """Ask until nothing is left to ask; balanced accuracies by the explanation's number."""
        while (questions := self.next_round()).num_rows:
            self.answer(questions)
        rows = self.database.read("balanced_accuracies")
        return sorted(rows, key=lambda row: int(row["explanation_id"][1:]))


def always(share_right, n=N_QUESTIONS, n_explanations=1):
    """Answers of which this share is right, spread evenly over the questions."""
    right = np.floor(np.arange(1, n + 1) * share_right + 1e-9) > np.floor(np.arange(n) * share_right + 1e-9)
    return np.broadcast_to(right, (n_explanations, 2, n)).copy()


# Rounds -------------------------------------------------------------------------------------------------


def test_without_a_target_there_is_one_round_of_everything():
    rounds = list(Scoring(always(0.5)).rounds())
    assert [len(each) for each in rounds] == [2 * N_QUESTIONS]


def test_rounds_have_as_many_of_each_answer_first_those_drawn_first_and_never_a_question_twice():
    rounds = list(Scoring(always(0.5), scoring_target_half_width=0.01).rounds())
    assert [len(each) for each in rounds] == [40, 80]
    assert all(sum(row["label"] for row in each) == len(each) / 2 for each in rounds)
    assert len({row["question_id"] for each in rounds for row in each}) == 2 * N_QUESTIONS
    places = [{int(row["example_id"].split()[-1]) for row in each} for each in rounds]
    assert places == [set(range(20)), set(range(20, N_QUESTIONS))]


def test_a_round_takes_what_is_left_of_the_shorter_side():
    right = always(0.5)
    scoring = Scoring(right, scoring_target_half_width=0.01)
    scoring.database.connection.execute("delete from own_questions where label and draw > 24")
    scoring.database.make("questions")
    assert [len(each) for each in scoring.rounds()] == [40, 44]


def test_a_further_round_makes_the_interval_narrow_if_the_rates_stay_and_has_one_at_least():
    # 20 of 40 right, S = 1/2: z / 2 sqrt(n / 2 + z^2 / 2) / (n + z^2) is 0.1 at n = 44.2.
    first, second, *more = Scoring(always(0.5), scoring_target_half_width=TARGET).rounds()
    assert (len(first), len(second), more) == (40, 2 * 25, [])
    zz = 1.959964**2
    half = [np.sqrt(zz * (n / 2 + zz / 2)) / 2 / (n + zz) for n in (44, 45)]
    assert half[0] > TARGET > half[1]
    rounds = list(Scoring(always(0.5), scoring_target_half_width=0.1418).rounds())
    assert [len(each) for each in rounds] == [40, 2]


def test_a_further_round_is_longer_where_documents_are_asked_about_twice():
    # Two questions a document: n / (1 + 0.1) is 44.2 at n = 48.7.
    twice = np.tile(np.arange(N_QUESTIONS) // 2, (2, 1))
    first, second, *_ = Scoring(always(0.5), twice, scoring_target_half_width=TARGET).rounds()
    assert (len(first), len(second)) == (40, 2 * 29)


@pytest.mark.parametrize("n_no", [N_QUESTIONS, 26])
def test_rounds_are_the_same_where_a_pilot_has_raised_rho(n_no):
    right = np.random.default_rng(1).random((40, 2, N_QUESTIONS)) < 0.7
    pairs = np.tile(np.arange(N_QUESTIONS) // 2, (2, 1))
    ends = []
    for rho in (None, 0.4):
        scoring = Scoring(right, pairs, scoring_target_half_width=TARGET)
        scoring.database.connection.execute(f"delete from own_questions where not label and draw > {n_no}")
        scoring.database.make("questions")
        scoring.database.fill("scorer_rhos", [{"sae": SAE, "scorer": "detection", "rho": rho}])
        asked = [{(row["explanation_id"], row["question_id"]) for row in each} for each in scoring.rounds()]
        ends.append(asked)
    assert sum(map(len, ends[0])) < sum(map(len, ends[1])) or n_no < N_QUESTIONS
    for low, high in zip(*ends, strict=False):
        of_low = {explanation for explanation, _ in low}
        assert low == {each for each in high if each[0] in of_low}


@pytest.mark.parametrize("rho", [0.25, 0.37])
def test_by_a_pilots_larger_rho_one_more_round_is_enough(rho):
    threes = np.tile(np.arange(120) // 3, (2, 1))
    by_config, *rest = Scoring(always(0.75, n=120), threes, scoring_target_half_width=TARGET).rounds()
    assert (len(by_config), [len(each) for each in rest]) == (40, [40])
    scoring = Scoring(always(0.75, n=120), threes, scoring_target_half_width=TARGET)
    scoring.database.fill("scorer_rhos", [{"sae": SAE, "scorer": "detection", "rho": rho}])
    sizes = [len(each) for each in scoring.rounds()]
    assert sizes[:2] == [40, 40] and len(sizes) <= 4 and sizes[2] >= 0.8 * sum(sizes[2:])


def test_nothing_is_asked_once_the_answer_that_has_no_questions_left_keeps_the_interval_wide():
    # After 20 noes, 10 of them wrong, the specificity's part alone is 0.1003.
    def asked(n_no, target):
        scoring = Scoring(always(0.5, n=50), scoring_target_half_width=target)
        scoring.database.connection.execute(f"delete from own_questions where not label and draw > {n_no}")
        scoring.database.make("questions")
        return [len(each) for each in scoring.rounds()]

    assert asked(20, 0.1) == [40]
    assert asked(20, 0.13)[:2] != [40], "wide enough to be reached by yeses alone"
    assert asked(24, 0.095)[0] == 40 and sum(asked(24, 0.095)) > 40, "its last ones may make it narrow"


def test_each_explanation_ends_for_itself_once_its_interval_is_narrow():
    right = np.concatenate([always(1.0), always(0.75), always(0.5)])
    rows = Scoring(right, scoring_target_half_width=TARGET).end()
    assert [row["n_scored"] for row in rows] == [40, 70, 90]
    halves = [(row["balanced_accuracy_high"] - row["balanced_accuracy_low"]) / 2 for row in rows]
    assert max(halves) <= TARGET
    # One question of each answer fewer would not have been enough: it goes on while the interval is wider.
    alone = [Scoring(right[[number]], scoring_target_half_width=TARGET).end()[0] for number in range(3)]
    assert [row["n_scored"] for row in alone] == [row["n_scored"] for row in rows]
    shorter = Scoring(right[[2], :, :40], scoring_target_half_width=TARGET).end()[0]
    assert (shorter["balanced_accuracy_high"] - shorter["balanced_accuracy_low"]) / 2 > TARGET


def test_questions_of_one_document_count_for_less():
    pairs = np.tile(np.arange(N_QUESTIONS) // 4, (2, 1))
    [alone], [clustered] = (
        Scoring(always(0.75), document, scoring_target_half_width=TARGET, scoring_rho=0.2).end()
        for document in (None, pairs)
    )
    assert alone["n_scored"] < clustered["n_scored"]


def test_prompts_are_full_and_have_as_many_of_each_answer():
    for per_prompt, sizes in ((50, [40]), (15, [15, 15, 10]), (5, [5] * 8), (1, [1] * 40)):
        [first, *_] = Scoring(
            always(0.5), scoring_target_half_width=TARGET, questions_per_prompt=per_prompt
        ).rounds()
        labels = [[row["label"] for row in first if row["prompt"] == number] for number in range(len(sizes))]
        assert [len(each) for each in labels] == sizes
        if per_prompt > 1:
            assert all(abs(2 * sum(each) - len(each)) <= 1 for each in labels)
        ids = [row["question_id"] for row in first]
        assert per_prompt == 1 or ids == sorted(ids, key=lambda each: (first[ids.index(each)]["prompt"], each))


# Failures -----------------------------------------------------------------------------------------------


def test_failed_answers_are_no_labels_and_more_is_asked_for_them():
    ok = np.ones((1, 2, N_QUESTIONS), bool)
    ok[:, :, ::10] = False
    [whole] = Scoring(always(0.75), scoring_target_half_width=0.093).end()
    [holed] = Scoring(always(0.75), ok=ok, scoring_target_half_width=0.093).end()
    assert holed["coverage"] == pytest.approx(0.9, abs=0.02)
    assert holed["n_scored"] + holed["n_unscored"] > whole["n_scored"]


def test_a_score_that_can_only_be_null_is_asked_no_more():
    never = np.zeros((1, 2, N_QUESTIONS), bool)
    [row] = Scoring(always(0.9), ok=never, scoring_target_half_width=TARGET).end()
    assert (row["n_scored"], row["n_unscored"]) == (0, 40)
    # Twelve of the first forty failed: at 120 questions the coverage could still be 0.9.
    late = np.ones((1, 2, N_QUESTIONS), bool)
    late[:, :, :6] = False
    [row] = Scoring(always(0.9), ok=late, scoring_target_half_width=TARGET).end()
    assert row["coverage"] >= 0.8 and row["balanced_accuracy"] is not None and row["n_unscored"] == 12


@pytest.mark.parametrize("failure, n_next", [("refused", 1), ("http_error", 0), ("budget", 0)])
def test_nothing_more_is_asked_in_a_run_in_which_a_request_failed(failure, n_next):
    # Asked again, it may change what comes next: questions asked now would be paid for in vain.
    ok = np.ones((2, 2, N_QUESTIONS), bool)
    ok[0, 0, 3] = False
    scoring = Scoring(always(0.75, n_explanations=2), ok=ok, scoring_target_half_width=TARGET)
    scoring.answer(scoring.next_round(), failure)
    explanations = {row["explanation_id"] for row in scoring.next_round().to_pylist()}
    assert explanations == {"e1"} | ({"e0"} if n_next else set())


def test_rounds_end_whatever_fails():
    rng = np.random.default_rng(2)
    ok = rng.random((50, 2, N_QUESTIONS)) < rng.random((50, 1, 1))
    rows = Scoring(always(0.6, n_explanations=50), ok=ok, scoring_target_half_width=0.02).end()
    assert len(rows) == 50 and max(row["n_scored"] + row["n_unscored"] for row in rows) == 2 * N_QUESTIONS


# Coverage -----------------------------------------------------------------------------------------------


@cache
def simulated():
    """By kind and point of the grid: share of intervals that hold the true value, bias, its error, mean questions.

    Bias is the mean difference to the share right of as many first questions as are asked on average: that share
    has none, and goes with the score, so that the difference varies less than the score's distance to the truth.
    """
    rng = np.random.default_rng(8)
    rates = np.repeat(np.array(RATES), N_EXPLANATIONS, axis=0)
    shape = (len(rates), 2, N_QUESTIONS)
    alone = np.broadcast_to(np.arange(N_QUESTIONS), shape)
    # Distinct documents first: question n is about document n of 24, and then about the same ones again.
    strength = 1 / 0.1 - 1
    by_document = np.moveaxis(rng.beta(rates * strength, (1 - rates) * strength, (24, *rates.shape)), 0, 2)
    chance = np.concatenate([np.broadcast_to(rates[:, :, None], shape), by_document[:, :, alone[0, 0] % 24]])
    right = rng.random(chance.shape) < chance
    rows = Scoring(right, np.concatenate([alone, alone % 24]), scoring_target_half_width=TARGET).end()
    value, low, high, n = (
        np.array([row[name] for row in rows])
        for name in ("balanced_accuracy", "balanced_accuracy_low", "balanced_accuracy_high", "n_scored")
    )
    truth = np.tile(rates.mean(axis=1), 2)
    holds = (low - 1e-9 <= truth) & (truth <= high + 1e-9)
    point = np.repeat(np.arange(2 * len(RATES)), 2 * N_EXPLANATIONS)
    each = [point == number for number in range(2 * len(RATES))]
    lean = [value[at] - right[at][:, :, : round(n[at].mean() / 2)].mean(axis=(1, 2)) for at in each]
    points = [
        (holds[at].mean(), by_one.mean(), by_one.std() / np.sqrt(len(by_one)), n[at].mean())
        for at, by_one in zip(each, lean, strict=True)
    ]
    return {"simple": points[: len(RATES)], "clustered": points[len(RATES) :]}


@pytest.mark.whole  # simulates 2,050 explanations to their last round
@pytest.mark.parametrize("kind", ["simple", "clustered"])
def test_interval_holds_and_hardly_leans_although_its_width_ends_the_questions(kind):
    points = simulated()[kind]
    print(f"\n{kind}: rates, coverage, bias, mean number of questions")
    for rates, (coverage, bias, _, n) in zip(RATES, points, strict=True):
        print(f"  {rates!s:16} {100 * coverage:5.1f} %  {bias:+.4f}  {n:5.1f}")
    coverages, biases, errors, n = (np.array(each) for each in zip(*points, strict=True))
    print(f"  mean             {100 * coverages.mean():5.1f} %  largest {abs(biases).max():.4f}  {n.mean():5.1f}")
    assert 0.93 <= coverages.mean() <= 0.97
    assert coverages.min() >= 0.88
    assert (abs(biases) <= 0.010 + 2 * errors).all()
    assert abs(biases[np.argmax(N_EXPLANATIONS)]) <= 0.010
    assert n.min() >= 40 and n[-1] < n[0] < 2 * N_QUESTIONS + 1, "easy ones are asked less"


def test_figures_for_the_population_stay_right_after_an_early_end():
    rng = np.random.default_rng(9)
    deciles, silent = np.linspace(0.5, 1.0, 10), np.array([0.95, 0.6])
    place = np.arange(N_QUESTIONS)
    chance = np.stack([deciles[place % 10], silent[place % 2]])
    right = rng.random((1000, 2, N_QUESTIONS)) < chance
    scoring = Scoring(right, scoring_target_half_width=TARGET)
    rows = scoring.end()
    assert np.mean([row["n_scored"] for row in rows]) < 80
    scoring.database.make("choice_scores", "ranked_scores", "sample_scores", "question_weights")
    fill_index(scoring.database.connection)
    rows = scoring.database.rows("population_scores")
    recall = np.mean([row["recall"] for row in rows])
    false_positive_rate = np.mean([row["false_positive_rate"] for row in rows])
    assert recall == pytest.approx(deciles.mean(), abs=0.01)
    assert false_positive_rate == pytest.approx(0.9 * 0.05 + 0.1 * 0.4, abs=0.01)
    assert {row["n_positive"] for row in rows} > {20}
