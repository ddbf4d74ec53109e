"""Windows and questions of some tokens, and the requests that are made of them."""

from pipeline.asking.windows import Vocabulary
from pipeline.config import ExplainingConfig, ScoringConfig
from pipeline.explainers.base import Feature, Shown
from pipeline.explainers.default import explainer
from pipeline.llm import Request
from pipeline.scorers.yes_no.requests import Question, score_request

VOCABULARY = Vocabulary([b"I", b" don", b"'t", b" stop", b"\n", b" {text}", b" >>", b"\xc3", b"\xa9", b" now"])
SHOWN = [
    Shown("x1", [0, 1, 2, 3, 4], [0, 0, 0, 4.0, 0]),
    Shown("x2", [1, 2, 3, 3, 5, 6], [0, 0, 2.0, 3.0, 0, 0]),
    Shown("x3", [7, 8, 3, 9], [0, 0, 0.5, 0]),
]
QUESTIONS = [
    Question("q1", "x1", [3], True, [0, 1, 2, 3, 4]),
    Question("q2", "x2", [0, 1, 4], False, [7, 8, 9, 5, 6]),
    Question("q3", "x3", [2], False, [0, 9, 3]),
]
WORDS = "the token ' stop' after a negation, {texts}"


def explain(shown=SHOWN, **changes) -> Request:
    """The default explainer's request, with keys of the config's `explaining` changed."""
    feature = Feature(7, "llm", None, True, shown)
    return explainer.request(ExplainingConfig(**changes), "layers.1", feature, VOCABULARY)


def score(scorer, questions, per_prompt=1, words=WORDS) -> Request:
    """The request of a scorer that asks yes or no; detection's windows have no marks."""
    scoring = ScoringConfig()
    if scorer == "detection":
        questions = [question._replace(marked=None) for question in questions]
    return score_request(scoring, "layers.1", 7, scorer, words, questions, VOCABULARY, is_one=per_prompt == 1)
