"""Echoes: an explanation that repeats the prompt is told from one that uses its words, or the windows'."""

import pytest

from pipeline.explainers.answers import parse_explanation
from pipeline.explainers.default import explainer
from pipeline.explainers.echoes import content_words, is_echo
from pipeline.plugins import find_plugin

own_texts = explainer.own_texts
INSTRUCTIONS = (
    "You are a meticulous researcher who finds out what a feature of a language model responds to.\n"
    "Say in one short sentence what the marked tokens, or what stands around them, have in common. Name the\n"
    "tokens if they are always the same. Answer with one line that begins with [EXPLANATION]: and holds the\n"
    "explanation."
)
SHOT = '[EXPLANATION]: the token "er" at the end of a comparative adjective'
OWN = [INSTRUCTIONS, SHOT]
WINDOWS = ["def __eq__(self, other):\n    return self.key", " see the documentation of the module"]


# Answers of SmolLM2-135M and Qwen2.5-Coder-1.5B to a prompt with worked examples, and to one without.
@pytest.mark.parametrize(
    "answer",
    [
        '[EXPLANATION]: the token "error" at the end of a comparative adjective',
        '[EXPLANATION]: the token "trailing-strings" at the end of a comparative adjective',
        "[EXPLANATION]: You are a meticulous researcher who finds out what a feature of a language model responds "
        "to.",
        "[EXPLANATION]: tokens (they are always the same).\n\nExample 1 shows it.",
        "[EXPLANATION]: **What the MARKED tokens, or what stands around them** have in common",
        "[EXPLANATION]: `the end` of a _comparative_adjective_",
        "[EXPLANATION]: ends; the end, comparative: adjective!",
        "[EXPLANATION]: comparative adjectives, at their end",
        "[EXPLANATION]: \uff45\uff4e\uff44 of a COMPARATIVE adjective",
        "[EXPLANATION]: the 2nd token, at the end of 3 comparative (adjective",
        "[EXPLANATION]: 形容词的词尾, end of a comparative adjective",
    ],
)
def test_three_content_words_of_the_prompt_in_a_row_are_an_echo(answer):
    words = parse_explanation(answer)
    assert words is not None
    assert is_echo(words, OWN, WINDOWS)


@pytest.mark.parametrize(
    "explanation",
    [
        "the end of a comparative clause",
        "comparative adjectives, at the end of a clause",
        "the token 'self' in methods that compare",
        "what stands around the tokens of comparisons",
        "all of the above and none of it",
        "the, of a; at 1 2 3",
        "Vergleichsformen von Adjektiven am Ende eines Satzes",
        "прилагательные в сравнительной степени",
        "比较级形容词的词尾",
        "صفات المقارنة",
        "",
    ],
)
def test_fewer_content_words_of_the_prompt_or_others_are_none(explanation):
    assert not is_echo(explanation, OWN, WINDOWS)


def test_the_prompts_words_that_stand_in_a_window_are_the_windows():
    explanation = 'the token "er" at the end of a comparative adjective'
    window = " Put -er at the end\n of any (comparative) ADJECTIVE."
    assert is_echo(explanation, OWN, WINDOWS)
    assert not is_echo(explanation.removeprefix("the token "), OWN, [*WINDOWS, window])
    assert not is_echo(f"as in{window}", OWN, [window])
    assert is_echo(explanation, OWN, [window]), "'token er end' stands in no window"


def test_a_run_ends_with_its_text():
    explanation = "end of a comparative adjective phrase"
    assert not is_echo(explanation, ["the end of a comparative", "adjective"], [])
    assert is_echo(explanation, OWN, ["the end of a comparative", "adjective"])


def test_windows_are_not_read_where_nothing_is_the_prompts_own():
    def unread():
        raise AssertionError
        yield

    assert not is_echo("names of rivers in Wales", OWN, unread())
    assert not is_echo("names of rivers in Wales", [], unread())


def test_languages_are_compared_by_their_own_words():
    own = ["Nenne das gemeinsame Merkmal aller markierten Wörter."]
    assert is_echo("das gemeinsame Merkmal ALLER", own, [])
    assert not is_echo("das gemeinsame aller Städte", own, [])
    cyrillic = ["Опишите общее свойство отмеченных слов"]
    assert is_echo("общее СВОЙСТВО отмеченных", cyrillic, [])


@pytest.mark.parametrize(
    "text, words",
    [
        ('The token " stop" after don\'t', ["token", "stop"]),
        ("snake_case, CamelCase; utf8 x2", ["snake", "case", "camelcase", "utf", "x"]),
        ("it\u2019s few-shot <<wid>><<er>>\n[EXPLANATION]:", ["few", "shot", "wid", "er", "explanation"]),
        ("Straße é e\u0301", ["strasse", "é", "é"]),
        ("1 2 3 … — the", []),
    ],
)
def test_content_words_are_words_of_letters_that_are_no_function_words(text, words):
    assert content_words(text) == words


@pytest.mark.parametrize(
    "explanation",
    [
        'the token "stop"',
        "the tokens are always forms of the verb 'to be'",
        "names of animals in all texts",
        "words that mean a beginning, in the first line of a docstring",
        "the feature is active on numbers",
        "the language model's name",
    ],
)
def test_what_an_explanation_may_say_is_no_echo_of_the_prompt_that_is_sent(explanation):
    assert not is_echo(explanation, own_texts(), [])


def test_the_prompt_that_is_sent_is_an_echo_of_itself_line_by_line():
    for text in own_texts():
        for line in text.splitlines():
            assert is_echo(line, own_texts(), []) is bool(content_words(line))
    assert is_echo(" ".join(own_texts()), own_texts(), [])


@pytest.mark.parametrize(
    ("answer", "is_one"),
    [
        ('These tokens are always the same one, which is the word "in".', False),
        ('The common token in all examples is "validate".', False),
        ("These tokens have in common that they are all part of a list or dictionary.", False),
        ("The tokens <<.>> have the same kind of punctuation.", False),
        ("The tokens in these texts are always the same year.", False),
        ("Numbered texts in which certain tokens are highlighted.", True),
        ("What these tokens have in common: quote it.", True),
        ("always the same one, else name their kind", True),
    ],
)
def test_what_a_model_of_1_5b_says_to_our_prompt_is_no_echo_unless_it_repeats_it(answer, is_one):
    assert is_echo(answer, own_texts(), []) is is_one


# What the model of 1.5B said of features in ten or twenty examples each, and what a smaller one may say.
@pytest.mark.parametrize(
    ("answer", "name", "is_one"),
    [
        ("The highlighted tokens are in the texts with highlights.", "contrastive", True),
        ("Nothing in the similar texts is always the same.", "contrastive", True),
        ('The highlighted token " of" is always the same one, which is "of".', "contrastive", False),
        ('The highlighted tokens "1", "0", "2", "5" are all numbers.', "contrastive", False),
        ('The highlighted tokens "f", " F", "k" are all the same token, which is "f".', "contrastive", False),
        ('The common token in all examples is "<<>>".', "default", True),
        ('The common token in all examples is "<<".', "default", True),
        ("The tokens are always the same one.", "default", True),
        ('The tokens << are>> always the same one, which is "are".', "default", False),
        ("The tokens <<,>> are always the same one.", "default", False),
        ("These tokens are always the same one, which is `of`.", "default", False),
        ("The tokens in these texts are URLs, which are always the same one.", "default", False),
    ],
)
def test_an_explanation_that_names_nothing_is_an_echo(answer, name, is_one):
    own = find_plugin("explainers", name).load().explainer.own_texts()
    words = parse_explanation(f"[EXPLANATION]: {answer}")
    assert words is not None
    assert is_echo(words, own, ["no word of them"]) is is_one


def test_the_prompts_words_name_something_where_a_window_has_one_of_them():
    assert is_echo("examples in texts", own_texts(), ["of no kind"])
    assert not is_echo("examples in texts", own_texts(), ["for example, see below"])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("The tokens <<lines>> are the same", 'The tokens "lines" are the same'),
        ("always << are>>", 'always " are"'),
        ('the word "<<merge>>", `<<,>>`', 'the word "merge", ","'),
        ("is <<>> or << or a >> b", "is <<>> or << or a >> b"),
    ],
)
def test_what_is_marked_in_an_answer_is_quoted(answer, words):
    assert parse_explanation(f"[EXPLANATION]: {answer}") == words
