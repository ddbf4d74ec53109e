"""A rule's words by SQL are those that the grammar reads: every rule comes back as it was."""

import random

import pyarrow as pa

from pipeline.rules.grammar import TOKEN_CLASSES, parse_rule, rule_columns, spellings_of
from pipeline.rules.score import RULE_SCHEMA

from .rows import Database

TEXTS = [
    *(" stop", "stop", " don't", "'", "''", '"', "\\", "\\n", "\n", "\t ", "\x00", "\u2028", "é", " and "),
    *("or", ",", "#3", "\\xe2\\x80", "same", "same", "' or '", "is", " ", "the token is 'a'", "😀", '\\"', "\\'"),
]


def random_rule(rng):
    """Any rule that the grammar has, as columns."""

    def named():
        if rng.random() < 0.2:
            return None, rng.choice(TOKEN_CLASSES)
        return rng.sample(range(len(TEXTS)), rng.randint(1, 4)), None

    clauses = rng.choice([(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1)])
    token, before = (named() if clause else (None, None) for clause in clauses[:2])
    return {
        "token_ids": token[0],
        "token_class": token[1],
        "previous_token_ids": before[0],
        "previous_class": before[1],
        "n_before": rng.randint(1, 64) if clauses[1] else None,
        "is_excluded": bool(clauses[1] and rng.random() < 0.4),
        "position_below": rng.randint(1, 1000) if clauses[2] else None,
    }


def words_of(rules):
    database = Database()
    database.fill("tokens", [{"token_id": number, "text": text} for number, text in enumerate(TEXTS)])
    numbered = [{"rule_id": number, **rule} for number, rule in enumerate(rules)]
    database.fill("mined_rules", pa.Table.from_pylist(numbered, RULE_SCHEMA))
    rows = database.rows("rule_words")
    return [row["rule"] for row in sorted(rows, key=lambda row: row["rule_id"])]


def test_every_rule_is_read_back_from_its_words_as_it_was():
    rng = random.Random(7)
    rules = [random_rule(rng) for _ in range(3000)]
    words = words_of(rules)
    spellings = spellings_of(TEXTS)
    assert [rule_columns(parse_rule(text), spellings) for text in words] == rules
    assert len(set(words)) == len({str(rule) for rule in rules})


def test_a_rule_reads_as_a_sentence():
    plain = {
        "token_ids": None,
        "token_class": None,
        "previous_token_ids": None,
        "previous_class": None,
        "n_before": None,
        "is_excluded": False,
        "position_below": None,
    }
    rules = [
        plain | {"token_ids": [0]},
        plain | {"token_ids": [0, 1, 2]},
        plain | {"token_ids": [0], "previous_token_ids": [2], "n_before": 1},
        plain | {"token_ids": [0, 1], "previous_token_ids": [2], "n_before": 1, "is_excluded": True},
        plain | {"token_class": "capitalised", "previous_token_ids": [0, 1], "n_before": 3},
        plain | {"previous_class": "digits", "n_before": 8, "is_excluded": True},
        plain | {"token_ids": [18, 8], "position_below": 4},
    ]
    assert words_of(rules) == [
        "the token is ' stop'",
        "the token is ' stop', 'stop' or ' don''t'",
        "the token is ' stop' and the previous token is ' don''t'",
        "the token is ' stop' or 'stop' and the previous token is not ' don''t'",
        "the token is capitalised and one of the 3 tokens before is ' stop' or 'stop'",
        "none of the 8 tokens before is digits",
        r"the token is #18 or '\n' and the position is below 4",
    ]
