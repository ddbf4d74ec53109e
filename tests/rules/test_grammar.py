"""A rule's words are read, and what is wrong with them is said with its place."""

import pytest

from pipeline.asking.windows import visible
from pipeline.errors import RuleError
from pipeline.rules.grammar import Named, Rule, on_one_line, parse_rule, rule_columns, spellings_of
from pipeline.show.terminal import printable

TEXTS = [" stop", "stop", " don't", "\n", '"', "\\x", "a", "a"]


def columns(text):
    return rule_columns(parse_rule(text), spellings_of(TEXTS))


NOTHING = {
    "token_ids": None,
    "token_class": None,
    "previous_token_ids": None,
    "previous_class": None,
    "n_before": None,
    "is_excluded": False,
    "position_below": None,
}


EXCLUDED = {"is_excluded": True}


def after(previous, **others):
    return {"previous_token_ids": previous, "n_before": 1, **others}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("token is ' stop' and previous is ' don''t'", after([2], token_ids=[0])),
        ("the token is 'stop', ' stop' or 'stop'", {"token_ids": [1, 0]}),
        ('The previous token IS NOT " stop"', after([0]) | EXCLUDED),
        ("one of the last 3 tokens is ' stop'", after([0], n_before=3)),
        ("any of the 3 tokens before is ' stop'", after([0], n_before=3)),
        ("none of the 3 tokens before is digits", after(None, previous_class="digits", n_before=3) | EXCLUDED),
        ("token is upper case and position is below 4", {"token_class": "upper case", "position_below": 4}),
        (
            "token is uppercase and previous is capitalized",
            after(None, previous_class="capitalised") | {"token_class": "upper case"},
        ),
        (r"the token is '\n' or '\\x'", {"token_ids": [3, 5]}),
        (r"""the token is '"'""", {"token_ids": [4]}),
        (r"""the token is "\"" """, {"token_ids": [4]}),
        (r"""the token is '\x22' or "\U0000000a" or '\\x'""", {"token_ids": [4, 3, 5]}),
        ("the token is #7", {"token_ids": [7]}),
    ],
)
def test_a_rule_is_read(text, said):
    assert columns(text) == NOTHING | said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "character 1: it ends here, expected 'the token is …'"),
        ("stop", "character 1: found stop, expected 'the token is …'"),
        ("token is stop", "character 10: found stop, expected a token in quotes, such as ' stop', or a class:"),
        ("token is ' stop' previous is 'a'", "character 18: found previous, expected 'and' with a further clause"),
        ("token is 'sto", "character 10: the quote is not closed"),
        ("token is ' stop' or", "character 20: it ends here, expected a token in quotes"),
        (r"token is 'st\op'", r"character 10: 'st\op' has a backslash that is not an escape"),
        (r"token is '\x2'", r"character 10: '\x2' has a backslash that is not an escape"),
        (r"token is '\UFFFFFFFF'", r"character 10: '\UFFFFFFFF' has a backslash that is not an escape"),
        ("token is \u2018 stop\u2019", "character 10: found \u2018; quotes are straight ones"),
        ("token is ''", "character 10: a token has at least one character"),
        ("token is ' stop' and token is 'stop'", "character 22: the token is stated twice"),
        ("previous is 'stop' and none of the last 2 tokens is 'stop'", "character 24: what precedes the token is"),
        ("token is not ' stop'", "character 10: found not, expected what the token is"),
        ("one of the 0 tokens before is ' stop'", "character 12: found 0, expected a number from 1 to 64"),
        ("one of the 3 tokens is ' stop'", "character 21: found is, expected 'before'"),
        ("position is below x", "character 19: found x, expected a number from 1"),
        ("token is 'stop' or ' Stop'", "character 20: no token is ' Stop'; nearest: ' stop'"),
        ("token is 'Z'", "character 10: no token is 'Z': several tokens spell it, if any do"),
        ("token is ' stopping'", "character 10: no token is ' stopping'; nearest: ' stop'"),
        ("token is 'a'", "character 10: several tokens are 'a'; choose one by number: #6, #7"),
        ("token is #8", "character 10: the vocabulary has no token #8, only #0 to #7"),
        ("token is #1234567890", "character 10: found #1234567890, expected a token in quotes"),
        (f"token is #{'9' * 5000}", "expected a token in quotes"),
        ("token is #\N{ARABIC-INDIC DIGIT ONE}", "expected a token in quotes"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text, words):
    with pytest.raises(RuleError) as error:
        columns(text)
    assert words in str(error.value)
    assert f"“{text}”" in str(error.value)


def test_a_rule_that_was_read_knows_where_its_tokens_stand():
    assert parse_rule("token is  'a' or 'b'") == Rule(
        "token is  'a' or 'b'", token=Named(("a", "b"), places=(11, 18))
    )


ODD = ["\xa0", "\x7f", "\n \n", "\N{LEFT-TO-RIGHT OVERRIDE}", "\N{TAG LATIN SMALL LETTER A}", "it's", "\\xa0", '"']


@pytest.mark.parametrize("shown", [on_one_line, printable, visible])
def test_a_rule_is_the_same_rule_where_it_is_shown_on_one_line(shown):
    texts = [" a", *ODD]
    listed = ", ".join("'" + text.replace("\\", "\\\\").replace("'", "''") + "'" for text in ODD)
    line = shown(f"the token is {listed} and the previous token is ' a'")
    assert line.isprintable()
    read = rule_columns(parse_rule(line), spellings_of(texts))
    assert (read["token_ids"], read["previous_token_ids"]) == ([*range(1, len(texts))], [0])


def test_white_space_between_the_words_of_a_rule_is_one_space():
    assert on_one_line("\nthe token\n is\xa0'a\n b'\t or  'b' ") == r"the token is 'a\n b' or 'b'"
