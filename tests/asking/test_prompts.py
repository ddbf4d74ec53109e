"""Prompts: places checked both ways, values never looked into, and every rendered prompt word for word.

After a change of a prompt that is meant, write the snapshots anew and read their diff:

    .venv/bin/python -m tests.asking.test_prompts
"""

import json
import re
from pathlib import Path

import pytest

from pipeline.asking.prompts import Prompt, load_prompt
from pipeline.asking.windows import Vocabulary
from pipeline.config import ExplainingConfig, ScoringConfig
from pipeline.explainers.base import Shown
from pipeline.explainers.default import explain_request
from pipeline.scorers.yes_no.answers import parse_many
from pipeline.scorers.yes_no.requests import CHOICES, Question, score_request

FOLDER = Path(__file__).parent / "prompts"
FILES = sorted((Path(__file__).parents[2] / "pipeline").rglob("*.txt"))
NAMES = [f"{path.parent.name}/{path.stem}" for path in FILES]
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


def explain(**changes):
    return explain_request(ExplainingConfig(**changes), "layers.1", 7, SHOWN, VOCABULARY)


def score(scorer, questions, per_prompt=1, words=WORDS):
    scoring = ScoringConfig(questions_per_prompt=per_prompt)
    if scorer == "detection":
        questions = [question._replace(marked=None) for question in questions]
    return score_request(scoring, "layers.1", 7, scorer, words, questions, VOCABULARY)


def rendered():
    """Every prompt that a model can be sent, by the name of its snapshot."""
    requests = {
        "explain": explain(),
        "explain_activations": explain(show_activations=True),
        "detection_empty": score("detection", QUESTIONS[:1], words=""),
    }
    for scorer in ("detection", "fuzzing"):
        requests[f"{scorer}_one"] = score(scorer, QUESTIONS[:1])
        requests[f"{scorer}_many"] = score(scorer, QUESTIONS, per_prompt=5)
    return {
        name: "\n".join(f"--- {message.role}\n{message.content}" for message in request.messages) + "\n"
        for name, request in requests.items()
    }


@pytest.mark.parametrize("name", sorted(rendered()))
def test_prompt_is_word_for_word_as_before(name):
    assert rendered()[name] == (FOLDER / f"{name}.txt").read_text(encoding="utf-8")


def test_every_snapshot_is_of_a_prompt():
    assert {path.stem for path in FOLDER.glob("*.txt")} == rendered().keys()


def test_every_prompt_file_is_in_a_snapshot():
    everything = "\n".join(rendered().values())
    for path in FILES:
        assert load_prompt(path).text.partition("{")[0] in everything, path


# Places -------------------------------------------------------------------------------------------------


def test_place_without_value_is_named():
    with pytest.raises(ValueError, match=r"prompt 'p' .* differ in: b$"):
        Prompt("p", "{a} {b}").render(a="1")


def test_value_without_place_is_named():
    with pytest.raises(ValueError, match=r"prompt 'p' .* differ in: c$"):
        Prompt("p", "{a}").render(a="1", c="2")


def test_all_that_is_odd_is_named():
    with pytest.raises(ValueError, match=r"b, c$"):
        Prompt("p", "{a} {b}").render(a="1", c="2")


def test_value_with_braces_or_backslashes_opens_no_place():
    assert Prompt("p", "{a} {b} {a}").render(a="{b}", b=r"{a} \1 \g<0> {{}}") == r"{b} {a} \1 \g<0> {{}} {b}"


def test_braces_that_are_no_name_are_text():
    prompt = Prompt("p", '{"1": 0} {} {A} {a}')
    assert prompt.places == {"a"}
    assert prompt.render(a="x") == '{"1": 0} {} {A} x'


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_prompt_file_has_the_places_of_its_kind(path):
    expected = {
        "default/user": {"examples"},
        "yes_no/one": {"explanation", "text"},
        "yes_no/many": {"explanation", "n", "texts"},
    }
    assert load_prompt(path).places == expected.get(f"{path.parent.name}/{path.stem}", set())


# What a request holds -----------------------------------------------------------------------------------


def sent(request):
    """What a provider's cache sees: the chat from its start, as bytes."""
    return json.dumps([message._asdict() for message in request.messages], ensure_ascii=False).encode()


def n_shared(*requests):
    """Bytes with which both begin."""
    one, other = (sent(request) for request in requests)
    return next(place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1])


@pytest.mark.parametrize("scorer", ["detection", "fuzzing"])
@pytest.mark.parametrize("per_prompt", [1, 5])
def test_prompts_share_all_bytes_up_to_the_explanation_and_those_of_one_explanation_up_to_the_texts(
    scorer, per_prompt
):
    n = min(per_prompt, 3)
    one, same = score(scorer, QUESTIONS[:n], per_prompt), score(scorer, QUESTIONS[::-1][:n], per_prompt)
    shorter = score(scorer, QUESTIONS[1:2], per_prompt)
    other = score(scorer, QUESTIONS[:n], per_prompt, words="another one")
    assert n_shared(one, other) == sent(one).index(WORDS.encode())
    first = vocabulary_text(scorer, QUESTIONS[0])
    assert min(n_shared(one, same), n_shared(one, shorter)) >= sent(one).index(first)
    # Nothing but the explanation, the texts and their count is the prompt's own.
    rest = one.messages[-1].content
    for own in (WORDS, *(f"{text}" for text in rest.splitlines() if text[:1].isdigit())):
        rest = rest.replace(own, "")
    assert len(rest) < 60


def vocabulary_text(scorer, question):
    """A question's window as it stands in the JSON of a prompt."""
    text = VOCABULARY.render(question.token_ids, question.marked if scorer == "fuzzing" else ())
    return json.dumps(text, ensure_ascii=False)[1:-1].encode()


def test_explainers_prompts_share_all_bytes_up_to_the_examples():
    one, other = explain(), explain_request(ExplainingConfig(), "layers.1", 8, SHOWN[::-1], VOCABULARY)
    assert one.messages[:-1] == other.messages[:-1] and len(one.messages) == 2


def test_one_question_offers_choices_and_several_do_not():
    assert score("detection", QUESTIONS[:1]).choices == CHOICES
    many, last = score("detection", QUESTIONS, per_prompt=5), score("detection", QUESTIONS[:1], per_prompt=5)
    assert many.choices is None and last.choices is None
    assert last.messages[-1].content.endswith("texts 1 to 1:"), "a shorter last prompt is asked like any other"


def test_several_questions_have_a_schema_that_allows_one_truth_value_a_text_and_nothing_else():
    assert score("detection", QUESTIONS[:1]).schema is None
    schema = score("fuzzing", QUESTIONS, per_prompt=5).schema
    assert list(schema["properties"]) == schema["required"] == ["1", "2", "3"]
    assert {each["type"] for each in schema["properties"].values()} == {"boolean"}
    assert schema["type"] == "object" and schema["additionalProperties"] is False


def test_answer_that_keeps_the_schema_fits_its_tokens_and_is_read():
    for n in (1, 5, 50):
        request = score("detection", (QUESTIONS * 17)[:n], per_prompt=50)
        said = {number: int(number) % 3 == 0 for number in request.schema["required"]}
        for text in (json.dumps(said), json.dumps(said, separators=(",", ":")), json.dumps(said, indent=2)):
            assert parse_many(text, n) == list(said.values())
            # At worst a token is one character of punctuation or digit, or a word with its space.
            assert len(re.findall(r"\w*[a-z]\w*|\d|[^\w\s]|\s+", text)) <= request.max_tokens


def test_detection_shows_no_marks_and_text_adds_no_line():
    content = score("detection", QUESTIONS, per_prompt=5).messages[-1].content
    assert "<<" not in content
    texts = content.split("\n\n")[1].splitlines()
    assert [line.split(".")[0] for line in texts] == ["1", "2", "3"]


def test_explainer_marks_above_a_share_of_the_largest_shown_and_each_windows_strongest():
    lines = explain().messages[-1].content.splitlines()
    assert lines[:3] == [
        "Example 1: I don't<< stop>>\\n",
        "Example 2:  don't<< stop stop>> {text} > >",
        "Example 3: é<< stop>> now",
    ]
    strict = explain(marked_share=0.6).messages[-1].content.splitlines()
    assert strict[1] == "Example 2:  don't stop<< stop>> {text} > >"


def test_activations_are_written_on_a_scale_of_the_largest_shown():
    lines = explain(show_activations=True).messages[-1].content.splitlines()
    assert lines[0] == "Example 1: I don't<< stop (10)>>\\n"
    assert lines[1] == "Example 2:  don't<< stop (5)>><< stop (8)>> {text} > >"


def test_answer_ends_with_its_line_unless_the_model_may_think():
    assert explain().stop == ("\n",)
    assert explain(one_line=False).stop == ()


def write_snapshots():
    """Write every snapshot anew."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in rendered().items():
        (FOLDER / f"{name}.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_snapshots()
