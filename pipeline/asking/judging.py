"""Explanations judged on train windows, so that an explainer can choose among several; no test window is read.

The questions are detection's, put in the role of the scorer through a ledger of its own: does the feature fire in
this window? They are about train windows that no explainer is shown (`examples.is_judge`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import pyarrow as pa

from pipeline.asking.batches import ToAsk
from pipeline.asking.tools import Tools
from pipeline.config import JUDGE
from pipeline.llm import Answer
from pipeline.plugins import find_plugin

SQL = "train_questions"


class Draft(NamedTuple):
    """An explanation that is to be judged."""

    feature: int
    words: str


class Verdict(NamedTuple):
    """What the judge says of a window, knowing the explanation alone.

    Attributes:
        example_id: The window.
        token_ids: Its tokens.
        activations: The feature's on them.
        draw: The place in which it was taken, among those in which the feature fires, or does not; from 1.
        fires: Whether the feature fires in it.
        said: What the judge says; None where its answer cannot be used.
        status: Of the answer, as in the table `predictions`.
        request_id: The request.
    """

    example_id: str
    token_ids: Sequence[int]
    activations: Sequence[float]
    draw: int
    fires: bool
    said: bool | None
    status: str
    request_id: str | None


def judge_drafts(
    tools: Tools, drafts: Iterable[Draft], n_windows: int, purpose: str, *, is_certain: bool
) -> dict[Draft, list[Verdict]]:
    """The verdicts on each draft; equal drafts are judged once.

    Args:
        tools: Of an explainer, with which the role `scorer` can be asked.
        drafts: What is judged.
        n_windows: Windows in which the feature fires, and as many in which it does not; at most.
        purpose: What the requests are for.
        is_certain: Whether they are sent whatever was answered before.
    """
    distinct = sorted(set(drafts))
    rows = [
        {"explanation_id": f"{place}", "feature": draft.feature, "explanation": draft.words}
        for place, draft in enumerate(distinct)
    ]
    schema = {"explanation_id": pa.string(), "feature": pa.int32(), "explanation": pa.string()}
    tools.batch.put("drafts", pa.Table.from_pylist(rows, pa.schema(schema)))
    judge = tools.in_role("scorer")
    scorer = find_plugin("scorers", JUDGE).load().scorer
    per_prompt = scorer.together(judge)
    due = tools.batch.select(SQL, n_judging=n_windows, questions_per_prompt=per_prompt).pl()

    def ask(to_ask: Sequence[ToAsk]) -> dict[str, Answer]:
        return dict(judge.ask([each.of(purpose, is_certain=is_certain) for each in to_ask]))

    said = {each.question_id: each for each in scorer.put(due, replace(judge, ask=ask), per_prompt)}
    verdicts: dict[Draft, list[Verdict]] = {draft: [] for draft in distinct}
    for row in due.iter_rows(named=True):
        prediction = said[row["question_id"]]
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
    """The mean of the shares of right answers about windows in which the feature fires, and in which it does not.

    None where there are none of either, or where the share of usable answers is under min_coverage.
    """
    rates = []
    for fires in (True, False):
        own = [verdict for verdict in verdicts if verdict.fires == fires]
        answered = [verdict for verdict in own if verdict.said is not None]
        if not answered or len(answered) < min_coverage * len(own):
            return None
        rates.append(sum(verdict.said == fires for verdict in answered) / len(answered))
    return sum(rates) / 2
