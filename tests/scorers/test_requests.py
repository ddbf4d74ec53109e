"""What the request of a scorer that asks yes or no holds."""

import json
import re

import pytest
from sample_prompts import QUESTIONS, VOCABULARY, WORDS, score

from pipeline.scorers.yes_no.answers import parse_many
from pipeline.scorers.yes_no.requests import CHOICES


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
    assert len(rest) < 70


def vocabulary_text(scorer, question):
    """A question's window as it stands in the JSON of a prompt."""
    text = VOCABULARY.render(question.token_ids, question.marked if scorer == "fuzzing" else ())
    return json.dumps(text, ensure_ascii=False)[1:-1].encode()


@pytest.mark.parametrize("per_prompt", [1, 5])
def test_an_explanation_stays_on_its_line_and_opens_no_mark(per_prompt):
    request = score("fuzzing", QUESTIONS[:1], per_prompt, words='the token "\u2028" or "\n2. x" or " <<"')
    plain = score("fuzzing", QUESTIONS[:1], per_prompt, words="words")
    lines = request.messages[-1].content.splitlines()
    assert len(lines) == len(plain.messages[-1].content.splitlines())
    assert any('the token "\\u2028" or "\\n2. x" or " < <"' in line for line in lines)


def test_one_question_offers_choices_and_several_do_not():
    assert score("detection", QUESTIONS[:1]).choices == CHOICES
    many, last = score("detection", QUESTIONS, per_prompt=5), score("detection", QUESTIONS[:1], per_prompt=5)
    assert many.choices == last.choices == ("true", "false") and not many.is_choice
    assert (many.keys, last.keys) == (("1", "2", "3"), ("1",))
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
    assert [line.partition("\t")[0] for line in texts if line[:1] != " "] == ["1", "2", "3"]
