"""Shared by explainers that make several explanations per feature and choose one, on train windows only."""

from collections.abc import Sequence

from pipeline.asking.judging import Verdict, balanced_accuracy, count_judging_windows
from pipeline.asking.tools import Tools
from pipeline.config import ScoringConfig
from pipeline.errors import ConfigError
from pipeline.explainers.base import Explanation, Feature
from pipeline.explainers.prompted import Prompted
from pipeline.llm.requests import FAILED
from pipeline.plugins import find_plugin

LEAST_WINDOWS = 5
"""Judging windows with each answer below which explanations are not compared: chance would choose."""


def can_be_judged(features: Sequence[Feature], tools: Tools, n_questions: int, n_windows: int) -> set[int]:
    """The features with enough train windows to choose among explanations of them.

    Args:
        features: The features.
        tools: An explainer's tools.
        n_questions: Maximum number of windows with each answer that judge an explanation.
        n_windows: Maximum number drawn for it; more than n_questions if the others serve another purpose.
    """
    least = min(LEAST_WINDOWS, n_questions) * n_windows / n_questions
    counts = count_judging_windows(tools, n_windows)
    return {each.feature for each in features if counts.get(each.feature, 0) >= least}


def load_prompted(explainer: str, name: str) -> Prompted:
    """The explainer with a name, for another to build on. Raises ConfigError unless it asks once per feature."""
    found = find_plugin("explainers", name).load().explainer
    if not isinstance(found, Prompted):
        raise ConfigError(
            f"explaining.{explainer}.of: '{name}' does not ask a model exactly once per feature; name an "
            "explainer that does, such as 'default'"
        )
    return found


def judged(
    draft: Explanation, verdicts: Sequence[Verdict], scoring: ScoringConfig, trying: Sequence[Verdict] = ()
) -> Explanation:
    """A draft with its score on train windows.

    Where a request failed or the budget was spent, it has that status, and the next run asks again. A score from
    the other answers would change with the missing one, and perhaps the choice, once its predictions are bought.

    Args:
        draft: The draft.
        verdicts: What makes its score.
        scoring: The section scoring of the config.
        trying: Verdicts that were asked for beside these, and make no score.
    """
    asked = (*verdicts, *trying)
    request_ids = sorted({verdict.request_id for verdict in asked if verdict.request_id})
    failed = [verdict.status for verdict in asked if verdict.status in FAILED]
    if failed:
        return draft._replace(words=None, status=failed[0], judge_request_ids=request_ids)
    score = balanced_accuracy(verdicts, scoring.min_coverage)
    return draft._replace(train_score=score, judge_request_ids=request_ids)


def chosen(drafts: Sequence[Explanation]) -> list[Explanation]:
    """The drafts of a feature in their order: which is the best of them, and which say what an earlier one says.

    The best by train score; of equals the first, of those without a score the first that can be used. While the
    request of any has failed it is not known which is best: that one stands for all, and nothing is scored.
    """
    best = max(drafts, key=lambda each: (each.status in FAILED, each.status == "ok", each.train_score or 0.0))
    first: dict[str | None, int] = {}
    marked = []
    for draft in drafts:
        same = first.setdefault(draft.words, draft.draw) if draft.words is not None else draft.draw
        marked.append(draft._replace(is_chosen=draft is best, same_as_draw=None if same == draft.draw else same))
    return marked
