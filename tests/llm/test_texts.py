"""What a model says in the end: thoughts, fences and emphasis are cut, and nothing else is."""

import pytest

from pipeline.llm.texts import final_text, has_thoughts


@pytest.mark.parametrize("text, said", [
    ("Yes", "Yes"),
    ("<think>No</think>Yes", "Yes"),
    ("<think>\nNo\n</think>\n\nYes\n", "Yes"),
    ("<think></think>Yes", "Yes"),
    ("<thinking>No</thinking> Yes", "Yes"),
    ("<seed:think>No</seed:think>Yes", "Yes"),
    ("[THINK]No[/THINK]Yes", "Yes"),
    ("◁think▷No◁/think▷Yes", "Yes"),
    ("<think>a <think>b</think> c </think>Yes", "Yes"),
    ("<think>a</think> b <think>c</think> Yes", "b  Yes"),
    ("I think no.\n</think>\nYes", "Yes"),  # the chat template has opened it
    ("a <think>b</think> c </think> Yes", "Yes"),
    ("<think>No</think>", ""),
    ("<|channel|>analysis<|message|>No<|end|><|start|>assistant<|channel|>final<|message|>Yes<|return|>", "Yes"),
    ("<|channel>thought\nNo\n<channel|>Yes", "Yes"),
    ("<|channel|>final <|constrain|>json<|message|>Yes", "Yes"),
    ("analysisWe say No. assistantcommentaryHm assistantfinalYes", "Yes"),
])  # fmt: skip
def test_closed_thoughts_are_cut(text, said):
    assert final_text(text) == said


@pytest.mark.parametrize("text", [
    "<think>", "<think>\nYes", "<think>a <think>b</think> Yes", "No <think> Yes",
    "<|channel|>analysis<|message|>Yes", "<|channel|>analysis<|message|>No<|end|><|start|>assistant",
    "analysisYes", "<|channel>thought\nYes",
])  # fmt: skip
def test_what_ends_in_a_thought_says_nothing(text):
    assert final_text(text) is None


@pytest.mark.parametrize("text", [
    'the token "<think>" in a prompt', "the token '</think>'", "`[THINK]` marks", "I think so", "[thinking]",
    'the token "<|channel|>analysis<|message|>"', "analysis of data", "the word assistantfinal",
])  # fmt: skip
def test_a_thoughts_mark_in_quotes_is_spoken_of(text):
    assert final_text(text) == text
    assert not has_thoughts(text)


@pytest.mark.parametrize("text, said", [
    ("```json\n[1, 0]\n```", "[1, 0]"),
    ("```\nYes\n```", "Yes"),
    ("~~~\nYes\n~~~", "Yes"),
    ("```Yes```", "Yes"),
    ("**Yes**", "Yes"),
    ("*Yes*, it *does*", "Yes, it does"),
    ("__Yes__.", "Yes."),
    ("***Yes***", "Yes"),
    ("**[EXPLANATION]:** the token", "[EXPLANATION]: the token"),
    ("**[EXPLANATION]: the token**", "[EXPLANATION]: the token"),
])  # fmt: skip
def test_fences_and_emphasis_are_stripped(text, said):
    assert final_text(text) == said


@pytest.mark.parametrize("text", [
    'the name "__init__" and "__main__"', "dunder names such as __init__ and __main__", "snake_case_name",
    "2**3**4", "a * b * c", "*args and **kwargs",
    'the mark "**" before a word', "the token ` stop`", 'the token "```"',
])  # fmt: skip
def test_tokens_that_look_like_marks_stay(text):
    assert final_text(text) == text
