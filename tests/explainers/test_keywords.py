"""Keywords: the tokens and words that stand out, against log-odds in plain Python and by examples made by hand."""

import json
import math
import random
from collections import Counter
from pathlib import Path

import pytest

from pipeline.explainers import keywords
from tests.sql.rows import SAE, Database, Document, fill_corpus

SQL = Path(keywords.__file__).parent / "keywords.sql"
WORDS = ["the", "of", "river", "bank", "money", "loan", "fox", "stop"]
N_SLOTS = 40


def sentences(database: Database, **values: object) -> dict[int, str]:
    """The explanations by feature."""
    database.run_stage("train_words")
    database.make_before(SQL, **values)  # type: ignore[arg-type]
    return {row["feature"]: row["explanation"] for row in database.rows(SQL, **values)}  # type: ignore[arg-type]


Filled = tuple[Database, list[list[int]], dict[int, list[int]]]


def filled(seed: int, spelled: dict[int, bytes] | None = None) -> Filled:
    """A corpus of contexts of eight tokens, two features' windows, and tokens that these fire on.

    Feature 1 fires on "stop" in contexts with "river" and "bank", feature 2 on any word anywhere.
    """
    rng = random.Random(seed)
    contexts = []
    for number in range(N_SLOTS):
        is_river = number % 4 == 0
        words = [rng.choice([0, 1, 4, 5, 6]) for _ in range(8)]
        words[3] = 7 if is_river or rng.random() < 0.1 else words[3]
        if is_river:
            words[1], words[5] = 2, 3
        contexts.append(words)
    database = Database(context_length=8)
    fill_corpus(database, [Document("train", words) for words in contexts], slot_tokens=7)
    database.fill(
        "tokens",
        [
            {"token_id": i, "text": f" {word}", "bytes": (spelled or {}).get(i, f" {word}".encode())}
            for i, word in enumerate(WORDS)
        ],
    )
    windows = {1: list(range(0, N_SLOTS, 4)), 2: list(range(0, N_SLOTS, 3))}
    database.fill(
        "selected_features",
        [{"sae": SAE, "feature": feature, "batch": 0, "place": feature} for feature in windows],
    )
    database.fill(
        "example_index",
        [
            {
                "sae": SAE,
                "feature": feature,
                "context_id": context,
                "start": 1,
                "role": "train",
                "draw": draw,
            }
            for feature, slots in windows.items()
            for draw, context in enumerate(slots, 1)
        ],
    )
    fired = {1: Counter({7: len(windows[1])}), 2: Counter(contexts[context][2] for context in windows[2])}
    database.fill(
        "feature_tokens",
        [
            {"sae": SAE, "feature": feature, "token_id": token_id, "n_strong": n}
            for feature, counts in fired.items()
            for token_id, n in counts.items()
        ],
    )
    return database, contexts, windows


def z(n_own: int, n_all_own: int, n: int, n_all: int, prior: float = 100) -> float:
    """Log-odds with a prior of the corpus's shares, over its standard error (Monroe et al. 2008)."""
    a = prior * n / n_all
    rest, n_rest = n - n_own, n_all - n_all_own
    odds = math.log((n_own + a) / (n_all_own + prior - n_own - a))
    odds -= math.log((rest + a) / (n_rest + prior - rest - a))
    return odds / math.sqrt(1 / (n_own + a) + 1 / (rest + a))


def test_a_feature_is_told_by_its_token_and_the_words_around_it() -> None:
    database, _, _ = filled(0)
    told = sentences(database, explaining_keywords_min_z=2.0)
    assert told[1] in {
        'fires on "stop"; among the words "bank", "river"',
        'fires on "stop"; among the words "river", "bank"',
    }
    assert "among the words" not in told[2], "its windows are as the others"


@pytest.mark.parametrize("seed", range(3))
def test_words_are_those_whose_log_odds_are_high(seed: int) -> None:
    database, contexts, windows = filled(seed)
    told = sentences(database, explaining_keywords_min_z=0.5, explaining_keywords_n_words=3)
    slots = [set(words[1:]) for words in contexts]
    for feature, own in windows.items():
        tokens, _, words = told[feature].partition("; among the words ")
        quoted = set(json.loads(f"[{tokens.removeprefix('fires on ')}]"))
        scores = {}
        for token_id, word in enumerate(WORDS):
            n_own, n = sum(token_id in slots[slot] for slot in own), sum(token_id in slot for slot in slots)
            if n_own and word not in quoted:
                scores[word] = z(n_own, len(own), n, len(slots))
        best = sorted((word for word in scores if scores[word] >= 0.5), key=lambda word: (-scores[word], word))[:3]
        assert json.loads(f"[{words}]") == best


def test_letters_of_either_case_are_one_token_and_no_text_can_end_its_quotes() -> None:
    database, _, _ = filled(0, {7: b' S"top\n', 0: b"\xe2"})
    assert sentences(database)[1].startswith('fires on "s\\"top"')


def test_no_test_document_is_read() -> None:
    database, contexts, _ = filled(0)
    before = sentences(database, explaining_keywords_min_z=0.5)
    for role in ("train", "test"):
        extra, _, _ = filled(0)
        documents = [Document("train", words) for words in contexts]
        documents += [Document(role, [2, 3, 2, 3, 2, 3, 2, 3])] * 30
        tokens = extra.read("tokens")
        fill_corpus(extra, documents, slot_tokens=7)
        extra.fill("tokens", [{k: row[k] for k in ("token_id", "text", "bytes")} for row in tokens])
        assert (sentences(extra, explaining_keywords_min_z=0.5) == before) == (role == "test")
