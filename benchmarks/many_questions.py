"""The accuracy that many questions per prompt cost a model, when each answer has its own probability.

Detection questions made by hand (`questions.yaml`: 12 explanations, each with four texts that contain what it
describes and four that do not) are asked as a run asks them, 1, 8 (all for one explanation) and 40 per prompt, in
the order of a hash. Prompts of 40 have 16 + 16 further texts, which count in no figure: as in a run, half of a
prompt's answers are yes. The figures are the share of the 96 with a probability, their AUC, and the share that is
correct. `benchmarks.calibration` does the same with the oracle.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from benchmarks.borrowed import DEMO
from benchmarks.figures import Figure, publish, scale_parser
from benchmarks.models import answers_of, at_scale
from benchmarks.wordings import BY_BYTE, Entry, Question, auc, read_entries
from pipeline.config import ScoringConfig, load_config
from pipeline.llm import Request
from pipeline.llm.local.client import LocalClient
from pipeline.scorers.yes_no.requests import Question as Row
from pipeline.scorers.yes_no.requests import score_request

SCALES = ("small", "large")
SIZES = (1, 8, 40)


class Asked(NamedTuple):
    """A request and the questions in it, in their order."""

    request: Request
    questions: Sequence[Question]


def main() -> None:
    """Measure, print, write `results/many_questions.json` or `results/many_questions_large.json`."""
    scale = scale_parser("many_questions", __doc__).parse_args().scale
    config = at_scale(load_config(DEMO), scale)
    client, entries = LocalClient(config.in_process(config.scoring), "cpu"), read_entries()
    own = {question for entry in entries for question in entry.questions}
    figures = []
    for size in SIZES:
        asked = list(prompts(config.scoring, entries, size))
        told = [each for each in answered(client, asked) if each[0] in own]
        known = [(question, probability) for question, probability in told if probability is not None]
        right = sum((probability >= 0.5) == question.label for question, probability in known)
        note = f"{len(told)} questions, {size} per prompt; {config.scoring.model}"
        figures.append(Figure(f"told_at_{size}", len(known) / len(told), "share", better="higher", note=note))
        if len({question.label for question, _ in known}) == 2:
            area = auc([probability for _, probability in known], [question for question, _ in known])
            figures += [
                Figure(f"auc_at_{size}", area, "", better="higher", note=note),
                Figure(f"accuracy_at_{size}", right / len(known), "", better="higher", note=note),
            ]
    publish("many_questions", figures, scale)


def prompts(scoring: ScoringConfig, entries: Sequence[Entry], size: int) -> Iterator[Asked]:
    """The prompts of a size: each explanation's own questions and as many further ones as fill the last prompt."""
    for number, entry in enumerate(entries):
        n_further = -len(entry.questions) % size
        filled = [*entry.questions, *further_questions(entries, number, n_further)]
        # By hash, as in a run: answers that alternate or begin with every yes are right by chance only.
        filled.sort(key=_hash)
        for first in range(0, len(filled), size):
            questions = filled[first : first + size]
            yield Asked(_request(scoring, number, entry.explanation, questions), questions)


def further_questions(entries: Sequence[Entry], number: int, n: int) -> list[Question]:
    """n questions about an explanation that count in no figure, half of them with texts of the others."""
    entry, others = entries[number], [*entries[number + 1 :], *entries[:number]]
    # The first text of each of the others, then the second of each, as in a draw of silent windows.
    noes = [text for texts in zip(*(other.further for other in others), strict=True) for text in texts]
    return [
        Question(entry.explanation, text, label)
        for texts, label in ((entry.further, True), (noes, False))
        for text in texts[: n // 2]
    ]


def answered(client: LocalClient, asked: Sequence[Asked]) -> Iterator[tuple[Question, float | None]]:
    """Each question with its probability of yes."""
    answers = answers_of(client, [each.request for each in asked])
    for (request, questions), answer in zip(asked, answers, strict=True):
        told = answer.probabilities or {}
        names = request.keys or ("Yes",)
        yield from zip(questions, [told.get(name) for name in names], strict=True)


def _request(scoring: ScoringConfig, number: int, explanation: str, questions: Sequence[Question]) -> Request:
    """The request that a run would make of these questions."""
    rows = [Row(_hash(each), _hash(each), None, each.label, list(each.text.encode())) for each in questions]
    is_one = len(rows) == 1
    return score_request(scoring, "benchmark", number, "detection", explanation, rows, BY_BYTE, is_one=is_one)


def _hash(question: Question) -> str:
    return hashlib.md5(f"{question.explanation} {question.text}".encode(), usedforsecurity=False).hexdigest()


if __name__ == "__main__":
    main()
