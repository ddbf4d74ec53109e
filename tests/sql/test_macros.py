"""Each macro against its formula, once more in plain Python, or the standard library's."""

import math
import re
import statistics
from typing import get_args

import duckdb
import pytest
from scipy.special import stdtrit

from pipeline.llm.requests import FAILED, UNANSWERED, Status
from pipeline.tables.macros import create_macros

from .score_reference import Interval, effective, mover, wilson_of, z_of

Z = z_of(0.95)
RATES = [(0.0, 1), (0.0, 40), (0.02, 50.5), (0.5, 2), (1 / 3, 3), (0.9, 17.25), (1.0, 1), (0.75, 1e6)]
CORRELATIONS = [-0.999, -0.3, 0.0, 0.45, 0.999]
VALUES = [[0.1, 0.2, 0.4], [0.7, 0.7], [-3.5, None, 1e6, 2.25, -1e6], [1 / 3, 1 / 7, 1 / 11, 0.0]]


@pytest.fixture(scope="module")
def of_macro():
    """The value of an expression; `$names` take the values given."""
    with duckdb.connect() as connection:
        create_macros(connection)

        def value_of(expression, **values):
            ((value,),) = connection.execute(f"select {expression}", values).fetchall()
            return value

        yield value_of


@pytest.mark.parametrize(("p", "n"), RATES)
def test_wilson(of_macro, p, n):
    expected = wilson_of(p, n)
    low, high = (of_macro(f"wilson_{end}($p::double, $n, $z)", p=p, n=n, z=Z) for end in ("low", "high"))
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= low <= p + 1e-15 and p - 1e-15 <= high <= 1


@pytest.mark.parametrize("end", ["low", "high"])
def test_wilson_of_no_rate_is_none(of_macro, end):
    assert of_macro(f"wilson_{end}(null::double, 0, 1.96)") is None


@pytest.mark.parametrize(
    ("p", "q"),
    [
        (Interval(0.5, 0.4, 0.7), Interval(0.9, 0.6, 1.0)),
        (Interval(1.0, 0.8, 1.0), Interval(0.0, 0.0, 0.3)),
    ],
)
def test_mover(of_macro, p, q):
    expected = mover([(0.5, p), (0.5, q)])
    call = "mover_{0}($p::double, $p_{0}::double, $q::double, $q_{0}::double)"
    low = of_macro(call.format("low"), p=p.value, p_low=p.low, q=q.value, q_low=q.low)
    high = of_macro(call.format("high"), p=p.value, p_high=p.high, q=q.value, q_high=q.high)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("auroc", [0.02, 0.5, 0.87])
def test_a_placement_varies_as_expected_where_few_windows_show_how(of_macro, auroc):
    # Placements of exponential scores, of one of the other class: Hanley and McNeil's model.
    expected = {True: 2 * auroc**2 / (1 + auroc) - auroc**2, False: auroc / (2 - auroc) - auroc**2}
    for is_positive, variance in expected.items():
        values = {"auroc": auroc, "is_positive": is_positive}
        call = "placement_variance($auroc, $is_positive, {}, {})"
        assert of_macro(call.format(0.03, 2), **values) == pytest.approx((0.03 + 2 * variance) / 3)
        assert of_macro(call.format(0.03, 1e6), **values) == pytest.approx(0.03, rel=1e-4)


@pytest.mark.parametrize("auroc", [0.02, 0.5, 0.87, 0.999])
@pytest.mark.parametrize("variance", [1e-12, 4e-4, 0.02])
def test_the_interval_of_an_auroc_is_symmetric_in_its_logit(of_macro, auroc, variance):
    call = "auroc_{}($auroc, $variance, 30, $z)"
    low, high = (of_macro(call.format(end), auroc=auroc, variance=variance, z=Z) for end in ("low", "high"))
    half = Z * math.sqrt(variance) * (1 / auroc + 1 / (1 - auroc))  # the derivative of the logit
    odds = auroc / (1 - auroc)
    expected = [odds * factor / (1 + odds * factor) for factor in (math.exp(-half), math.exp(half))]
    assert [low, high] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("auroc", "variance"), [(0.0, 0.01), (1.0, 0.01), (0.8, None), (0.8, 0.0), (1.0, 0.0), (0.5, 9e-13)]
)
@pytest.mark.parametrize("end", ["low", "high"])
def test_an_auroc_without_spread_has_wilsons_interval(of_macro, auroc, variance, end):
    call = f"auroc_{end}($auroc::double, $variance::double, 12, $z)"
    found = of_macro(call, auroc=auroc, variance=variance, z=Z)
    assert found == pytest.approx(getattr(wilson_of(auroc, 12), end), abs=1e-12)


@pytest.mark.parametrize("r", CORRELATIONS)
def test_fisher(of_macro, r):
    half = Z / math.sqrt(17)
    low, high = (of_macro(f"fisher_{end}($r::double, $half)", r=r, half=half) for end in ("low", "high"))

    def on_his_scale(value):
        return 0.5 * math.log((1 + value) / (1 - value))

    assert on_his_scale(r) - on_his_scale(low) == pytest.approx(half, rel=1e-9)
    assert on_his_scale(high) - on_his_scale(r) == pytest.approx(half, rel=1e-9)


@pytest.mark.parametrize("r", [-1.0, 1.0, None])
@pytest.mark.parametrize("end", ["low", "high"])
def test_a_perfect_correlation_has_no_interval(of_macro, r, end):
    assert of_macro(f"fisher_{end}($r::double, 0.1)", r=r) is None


def test_clamp(of_macro):
    found = [of_macro("clamp($x::double, -1, 1)", x=x) for x in (-2.0, -1.0, 0.25, 1.0, 7.5, None)]
    assert found == [-1.0, -1.0, 0.25, 1.0, 1.0, None]


def test_an_exact_sum_is_the_same_in_any_order(of_macro):
    values = [0.1, 1e15, 0.2, -1e15, 0.3, 1 / 3]
    rows = "from (select unnest($xs::double[]) as x)"
    there, back = (of_macro(f"exact_sum(x) {rows}", xs=xs) for xs in (values, values[::-1]))
    assert there == back == pytest.approx(math.fsum(values), abs=1e-14)


@pytest.mark.parametrize("values", VALUES)
def test_mean_and_variance_leave_nulls_out(of_macro, values):
    of_values = "from (select unnest($xs::double[]) as x)"
    known = [value for value in values if value is not None]
    mean, variance = (of_macro(f"exact_{what}(x) {of_values}", xs=values) for what in ("mean", "variance"))
    assert mean == pytest.approx(statistics.fmean(known), rel=1e-12)
    assert variance == pytest.approx(statistics.variance(known), rel=1e-12, abs=1e-30)
    assert variance == of_macro(f"exact_variance(x) {of_values}", xs=values[::-1])


@pytest.mark.parametrize("own", [[0.0, 0.0, 0.0], [0.9, None, 0.3], [None, None, None]])
def test_the_error_of_a_mean_is_no_less_than_what_their_own_intervals_say(of_macro, own):
    values = [0.2, 0.5, 0.6]
    rows = "from (select unnest($xs::double[]) as x, unnest($own::double[]) as own)"
    known = [each for each in own if each is not None] or [0.0]
    expected = math.sqrt(max(statistics.variance(values), statistics.fmean(known)) / 3)
    assert of_macro(f"error_of_mean(x, own) {rows}", xs=values, own=own) == pytest.approx(expected, rel=1e-12)


def test_the_variance_of_an_interval_is_that_of_the_normal_one_of_its_width(of_macro):
    error = 0.07
    found = of_macro("interval_variance($low, $high, $z)", low=0.4 - Z * error, high=0.4 + Z * error, z=Z)
    assert found == pytest.approx(error**2, rel=1e-12)


@pytest.mark.parametrize("documents", ["abcdef", "aabbcc", "aaaaab"])
def test_the_design_effect_is_by_how_much_fewer_answers_are_effective(of_macro, documents):
    m = sum(documents.count(each) for each in documents) / len(documents)
    found = of_macro("$n / design_effect($m, 0.3)", n=len(documents), m=m)
    assert found == pytest.approx(effective(len(documents), documents, 0.3))


def test_a_coverage_is_cut_and_not_rounded(of_macro):
    assert of_macro("coverage_reason(799, 201, 0.8)") == "coverage 0.79 is under 0.80"


def test_positions_above_the_share_of_the_peak_are_marked(of_macro):
    activations, share = [0.0, 1.0, 4.0, 2.0, 2.1], 0.5
    found = of_macro("marked_positions($activations::float[], 4, $share)", activations=activations, share=share)
    assert found == [place for place, each in enumerate(activations) if each > share * 4] == [2, 4]


def test_strengths_are_whole_and_ten_at_most(of_macro):
    assert of_macro("strengths([0, 1, 4, 8, 30]::double[], 8)") == [0, 1, 5, 10, 10]


def test_words_of_a_text(of_macro):
    text = "The cat, THE 2 cats\u2019 x2 na\u00efve caf\u00e9_1"
    assert {*of_macro("words_of($text)", text=text)} == {*re.findall(r"[^\W\d_]\w+", text.lower())}
    assert of_macro("len(words_of('a A an An'))") == 1


@pytest.mark.parametrize(("kind", "decile", "name"), [("activating", 7, "decile 7"), ("random", None, "random")])
def test_the_name_of_a_stratum(of_macro, kind, decile, name):
    assert of_macro("stratum_name($kind, $decile::int)", kind=kind, decile=decile) == name


@pytest.mark.parametrize(("n", "error"), [(3, 0.008), (4, 0.002), (5, 4e-4), (10, 1e-5), (1000, 1e-6)])
def test_students_quantile(of_macro, n, error):
    expected = stdtrit(n - 1, 0.975)
    assert of_macro("student_t($z, $n)", z=Z, n=n) == pytest.approx(expected, rel=error)
    assert of_macro("student_t($z, 2)", z=Z) is None


@pytest.mark.parametrize("status", get_args(Status))
def test_statuses_are_told_apart_as_where_requests_are_sent(of_macro, status):
    assert of_macro("is_failed($status)", status=status) == (status in FAILED)
    assert of_macro("is_answered($status)", status=status) == (status not in UNANSWERED)
