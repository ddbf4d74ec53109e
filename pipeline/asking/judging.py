"""Judges draft explanations on train windows, so that an explainer can choose among them without test windows.

The questions are detection's (does the feature fire in this window?), sent to the scorer role through a ledger of
their own. They are about train windows that no explainer is shown (`examples.is_judge`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import pyarrow as pa

from pipeline.asking.batches import for_purpose
from pipeline.asking.tools import Tools
from pipeline.config import JUDGE
from pipeline.plugins import find_plugin


class Draft(NamedTuple):
    """An explanation to be judged."""

    feature: int
    words: str


class Verdict(NamedTuple):
    """The judge's answer about a window, given the explanation alone.

    Attributes:
        example_id: The window.
        token_ids: Its tokens.
        activations: The feature's activations on them.
        draw: Its rank in the draw, from 1, among windows in which the feature fires or among silent ones.
        fires: Whether the feature fires in it.
        predicted: The judge's answer; None if it cannot be used.
        status: The answer's status, as in the table `predictions`.
        request_id: The request.
    """

    example_id: str
    token_ids: Sequence[int]
    activations: Sequence[float]
    draw: int
    fires: bool
    predicted: bool | None
    status: str
    request_id: str | None


def count_judging_windows(tools: Tools, n_windows: int) -> dict[int, int]:
    """By feature, how many of `n_windows` judging windows with each answer there are with the rarer answer."""
    return dict(tools.batch.select("judging_windows", n_judging=n_windows).fetchall())


def judge_drafts(
    tools: Tools, drafts: Iterable[Draft], n_windows: int, purpose: str, *, is_certain: bool
) -> dict[Draft, list[Verdict]]:
    """The verdicts on each draft; equal drafts are judged once.

    Args:
        tools: An explainer's tools, with which the role `scorer` can be asked.
        drafts: The drafts to judge.
        n_windows: Maximum number of windows in which the feature fires, and of silent windows.
        purpose: The requests' purpose.
        is_certain: Whether the requests are sent regardless of earlier answers.
    """
    distinct = sorted(set(drafts))
    rows = [
        {"explanation_id": f"{number}", "feature": draft.feature, "explanation": draft.words}
        for number, draft in enumerate(distinct)
    ]
    schema = {"explanation_id": pa.string(), "feature": pa.int32(), "explanation": pa.string()}
    tools.batch.put("drafts", pa.Table.from_pylist(rows, pa.schema(schema)))
    judge = tools.in_role("scorer")
    scorer = find_plugin("scorers", JUDGE).load().scorer
    per_prompt = scorer.together(judge)
    due = tools.batch.select("train_questions", n_judging=n_windows, questions_per_prompt=per_prompt).pl()
    judge = replace(judge, ask=for_purpose(judge.ask, purpose, is_certain=is_certain))
    predictions = {each.question_id: each for each in scorer.put(due, judge, per_prompt)}
    verdicts: dict[Draft, list[Verdict]] = {draft: [] for draft in distinct}
    for row in due.iter_rows(named=True):
        prediction = predictions[row["question_id"]]
        verdicts[distinct[int(row["explanation_id"])]].append(
            Verdict(
                row["example_id"],
                row["token_ids"],
                row["activations"],
                row["draw"],
                row["label"],
                prediction.prediction,
                prediction.status,
                prediction.request_id,
            )
        )
    return verdicts


def balanced_accuracy(verdicts: Sequence[Verdict], min_coverage: float) -> float | None:
    """The mean of the shares of correct answers about windows in which the feature fires and about silent ones.

    None if either kind has no usable answers, or if their share of that kind is below min_coverage. Scores on test
    windows (`sql/scores/balanced_accuracies.sql`) compare min_coverage with both kinds together. One quotient of
    whole numbers, as there: equal scores are the same number.
    """
    counts = []
    for fires in (True, False):
        own = [verdict for verdict in verdicts if verdict.fires == fires]
        answered = [verdict for verdict in own if verdict.predicted is not None]
        if not answered or len(answered) < min_coverage * len(own):
            return None
        counts.append((sum(verdict.predicted == fires for verdict in answered), len(answered)))
    (right_yes, n_yes), (right_no, n_no) = counts
    return (right_yes * n_no + right_no * n_yes) / (2 * n_yes * n_no)
