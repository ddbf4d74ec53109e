"""How well a model answers detection's question, in its current wording and in others, on questions made by hand.

`questions.yaml` has 12 explanations, each with four texts that contain what it describes and four that do not. The
figure is the AUC of the probability of Yes over all of them: 0.5 is chance.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from benchmarks.borrowed import DEMO
from benchmarks.figures import Figure, publish, scale_parser
from benchmarks.models import LARGE as LARGE
from benchmarks.models import answers_of, at_scale
from pipeline.asking.prompts import load_prompt
from pipeline.asking.windows import Vocabulary
from pipeline.config import load_config
from pipeline.llm import Message, Request
from pipeline.llm.local.client import LocalClient
from pipeline.plugins import find_plugin
from pipeline.scorers.yes_no.requests import CHOICES

SCALES = ("small", "large")
BY_BYTE = Vocabulary([bytes([value]) for value in range(256)])
"""Writes texts into prompts as a run does, each byte a token."""
_HERE = Path(__file__).parent
_DETECTION = find_plugin("scorers", "detection").path


class Wording(NamedTuple):
    """The system message and the user message; the second contains `{explanation}` and `{text}`."""

    system: str
    user: str


WORDINGS: Mapping[str, Wording] = {
    "present": Wording(load_prompt(_DETECTION / "one.txt").text, load_prompt(_DETECTION / "question.txt").text),
    "explanation_first": Wording(
        "A feature of a language model is described by an explanation. You judge whether a text contains what it "
        "describes.\nAnswer Yes or No.",
        "Explanation: {explanation}\n\nText: {text}",
    ),
}


class Question(NamedTuple):
    """An explanation, a text, and whether it contains what is described."""

    explanation: str
    text: str
    label: bool


class Entry(NamedTuple):
    """An explanation, its questions, and further texts that contain what is described."""

    explanation: str
    questions: Sequence[Question]
    further: Sequence[str]


def main() -> None:
    """Measure, print, write `results/wordings.json` or `results/wordings_large.json`."""
    scale = scale_parser("wordings", __doc__).parse_args().scale
    config = at_scale(load_config(DEMO), scale)
    client = LocalClient(config.in_process(config.scoring), "cpu")
    questions = [question for entry in read_entries() for question in entry.questions]
    figures = []
    for name, wording in WORDINGS.items():
        said = ask(client, wording, questions)
        right = sum((probability >= 0.5) == each.label for probability, each in zip(said, questions, strict=True))
        yes = sum(probability >= 0.5 for probability in said)
        note = f"{right} of {len(said)} right at 0.5, {yes} Yes; {config.scoring.model}"
        figures.append(Figure(f"{name}_auc", auc(said, questions), "", better="higher", note=note))
    publish("wordings", figures, scale)


def read_entries() -> list[Entry]:
    """The explanations and questions made by hand."""
    entries = yaml.safe_load((_HERE / "questions.yaml").read_text(encoding="utf-8"))
    return [
        Entry(
            entry["explanation"],
            [
                Question(entry["explanation"], text, name == "yes")
                for name in ("yes", "no")
                for text in entry[name]
            ],
            entry["further"],
        )
        for entry in entries
    ]


def ask(client: LocalClient, wording: Wording, questions: Sequence[Question]) -> list[float]:
    """The probability of Yes for each question."""
    requests = []
    for number, each in enumerate(questions):
        text = BY_BYTE.render(list(each.text.encode()))
        user = wording.user.replace("{text}", text).replace("{explanation}", each.explanation)
        messages = (Message("system", wording.system), Message("user", user))
        requests.append(Request("detection", "benchmark", number, "wording", messages, 1, choices=CHOICES))
    said = [answer.probabilities or {} for answer in answers_of(client, requests)]
    return [each["Yes"] for each in said]


def auc(said: Sequence[float], questions: Sequence[Question]) -> float:
    """How often a text that contains what is described has the higher probability; ties count half."""
    yes = [probability for probability, each in zip(said, questions, strict=True) if each.label]
    no = [probability for probability, each in zip(said, questions, strict=True) if not each.label]
    return sum((one > other) + (one == other) / 2 for one in yes for other in no) / (len(yes) * len(no))


if __name__ == "__main__":
    main()
