"""The accuracy that many questions per prompt cost a model, when each answer has its own probability.

Detection questions made by hand (`questions.yaml`: 12 explanations, each with four texts that contain what it
describes and four that do not) are asked 1, 8 (all for one explanation) and 40 per prompt. Prompts of 40 have
16 + 16 further texts, each joined from two, which count in no figure: as in a run, half of a prompt's answers are
yes. The figures are the share of the 96 with a probability, their AUC, and the share that is correct. `--scale
small` asks the embedded model, `--scale large` the one with 1.5B parameters in int8 (1.1 GB to download at first
use). `benchmarks.calibration` does the same with the oracle.
"""

import argparse
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from benchmarks.borrowed import DEMO
from benchmarks.figures import Figure, publish
from benchmarks.wordings import LARGE, SCALES, Question, auc, read_questions
from pipeline.asking.prompts import load_prompt
from pipeline.config import load_config
from pipeline.llm import Message, Request
from pipeline.llm.local.client import LocalClient
from pipeline.plugins import find_plugin
from pipeline.scorers.numbers import keys_of
from pipeline.scorers.yes_no.requests import CHOICES

SIZES = (1, 8, 40)
_DETECTION = find_plugin("scorers", "detection").path
_SHARED = _DETECTION.parent / "yes_no"


class Asked(NamedTuple):
    """A request and the questions in it, in their order."""

    request: Request
    questions: Sequence[Question]


def main() -> None:
    """Measure, print, write `results/many_questions.json` or `results/many_questions_large.json`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_questions", description=__doc__)
    parser.add_argument("--scale", choices=SCALES, default="small")
    scale = parser.parse_args().scale
    config = load_config(DEMO)
    if scale == "large":
        config = config.with_llm(LARGE)
    client, questions = LocalClient(config.in_process(config.scoring), "cpu"), read_questions()
    own = set(questions)
    figures = []
    for size in SIZES:
        told = [each for each in answered(client, list(prompts(questions, size))) if each[0] in own]
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
    publish("many_questions" if scale == "small" else "many_questions_large", figures)


def prompts(questions: Sequence[Question], size: int) -> Iterator[Asked]:
    """The prompts of a size: an explanation's own questions, yes and no alternating, padded with made-up ones."""
    by_words: dict[str, list[Question]] = {}
    for question in questions:
        by_words.setdefault(question.explanation, []).append(question)
    for words, own in by_words.items():
        half = len(own) // 2
        mixed = [each for pair in zip(own[:half], own[half:], strict=True) for each in pair]
        others = [each.text for each in questions if each.explanation != words]
        filled = mixed + list(islice(_made_up(words, own, others), max(0, size - len(own))))
        # In prompts of forty, every fifth is an own question, so that they are not adjacent.
        apart = len(filled) // len(own)
        order = sorted(range(len(filled)), key=lambda index: index * apart if index < len(own) else index)
        for first in range(0, len(order), size):
            yield _asked(words, [filled[index] for index in order[first : first + size]])


def _made_up(words: str, own: Sequence[Question], others: Sequence[str]) -> Iterator[Question]:
    """Further questions, yes and no alternating: a text of another explanation, then an own one or another's."""
    right = [each.text for each in own if each.label]
    for index in range(0, len(others) - 2, 3):
        yield Question(words, f"{others[index]} {right[index // 3 % len(right)]}", True)
        yield Question(words, f"{others[index + 1]} {others[index + 2]}", False)


def answered(client: LocalClient, asked: Sequence[Asked]) -> Iterator[tuple[Question, float | None]]:
    """Each question with its probability of yes."""
    requests = [each.request for each in asked]
    answers = {answer.request_id: answer for some in client.answer(requests) for answer in some}
    for request, questions in asked:
        told = answers[request.request_id].probabilities or {}
        names = request.keys or ("Yes",)
        yield from zip(questions, [told.get(name) for name in names], strict=True)


def _asked(words: str, questions: Sequence[Question]) -> Asked:
    """One question in detection's own words, or several as JSON."""
    if len(questions) == 1:
        user = load_prompt(_DETECTION / "question.txt").render(explanation=words, text=questions[0].text)
        messages = (Message("system", load_prompt(_DETECTION / "one.txt").text), Message("user", user))
        return Asked(Request("detection", "benchmark", 0, "many", messages, 1, choices=CHOICES), questions)
    texts = "\n".join(f"{number}. {each.text}" for number, each in enumerate(questions, start=1))
    user = load_prompt(_SHARED / "many.txt").render(explanation=words, texts=texts, n=str(len(questions)))
    messages = (Message("system", load_prompt(_DETECTION / "many.txt").text), Message("user", user))
    keys = keys_of(len(questions))
    request = Request("detection", "benchmark", 0, "many", messages, 500, choices=("true", "false"), keys=keys)
    return Asked(request, questions)


if __name__ == "__main__":
    main()
