"""What is planted: features of five kinds in a corpus's own text, with right and faulty explanations of them.

    token    a word                                pair      a word after one of two others
    topic    words that occur in the same texts    position  eight positions of a context
    bytes    words of one token that hold three letters

Everything is drawn by hash from what occurs often enough in the corpus. A feature fails to fire at one in twenty
of its positions (`model`), so no explanation is perfect.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Literal, NamedTuple, TypeVar, get_args

import numpy as np

Item = TypeVar("Item")

Kind = Literal["token", "pair", "topic", "position", "bytes"]
Fault = Literal["none", "too broad", "too narrow", "wrong", "of another", "promoted", "echo"]
KINDS: tuple[Kind, ...] = get_args(Kind)
FAULTS: tuple[Fault, ...] = get_args(Fault)
"""What is wrong with an explanation; `none`: it is true of when the feature fires."""

Aspect = Literal["firing", "effect"]
"""What an explanation is judged by: when the feature fires, or what it makes the model write."""
RIGHT: Mapping[Aspect, Fault] = {"firing": "none", "effect": "promoted"}
"""The explanation that is right about what a scorer judges."""
_PARTLY: Mapping[Aspect, Sequence[Fault]] = {"firing": ("too broad", "too narrow"), "effect": ()}

ECHO = "The pattern that the tokens between << and >> share, in a few words"
_WORD = re.compile(r" [a-z]{3,}")
_ANY_WORD = re.compile(r" ?[A-Za-z]+")
_BEGINNING, _LETTERS = re.compile(r" [A-Za-z]+"), re.compile(r"[A-Za-z]+")
_DOCUMENTS = range(40, 200)
"""Number of documents in which a planted word occurs."""
_LEAST_TRUE = 0.9
"""Minimum share of the words with a byte plant's letters on which it fires."""
_WIDTH = 8
"""Length of a planted range of positions; also the position at which the first one starts."""


class Plant(NamedTuple):
    """A planted feature.

    Attributes:
        kind: What it depends on.
        tokens: The tokens on which it fires, with its strength, 0.5 to 1.5; empty if it depends on position.
        previous: Tokens of which one must come just before; empty: any.
        positions: Where in a context it fires; empty: anywhere.
        promoted: Tokens that it makes likelier; empty: it has no effect on the model's output.
        explanations: Explanations of it, by their fault.
    """

    kind: Kind
    tokens: Mapping[int, float]
    previous: tuple[int, ...]
    positions: range
    promoted: tuple[int, ...]
    explanations: Mapping[Fault, str]


def worth(aspect: Aspect, fault: Fault) -> int:
    """An explanation's worth to a scorer that judges this aspect: 2 if right, 1 if partly right, else 0."""
    return 2 if fault == RIGHT[aspect] else int(fault in _PARTLY[aspect])


def is_applicable(kind: Kind, aspect: Aspect, sees_positions: bool) -> bool:
    """Whether a plant of this kind can be judged: by effect only if it has one, by positions only if seen."""
    return kind != "position" or (aspect == "firing" and sees_positions)


class Corpus:
    """What occurs in some documents: words by token, in how many documents, and after which tokens.

    Args:
        documents: The token ids of each.
        texts: The text of each token of the vocabulary.
    """

    def __init__(self, documents: Sequence[Sequence[int]], texts: Sequence[str]) -> None:
        self.texts = texts
        self.counts = Counter(token for document in documents for token in document)
        self.documents: dict[int, set[int]] = defaultdict(set)
        self.previous: dict[int, Counter[int]] = defaultdict(Counter)
        self.n_documents = len(documents)
        for number, document in enumerate(documents):
            for before, token in zip([-1, *document], document, strict=False):
                self.documents[token].add(number)
                self.previous[token][before] += 1
        self.words = sorted(token for token in self.counts if _WORD.fullmatch(texts[token]))
        self.spelled = Counter(word for document in documents for word in self._spelled(document))

    def _spelled(self, document: Sequence[int]) -> Iterator[tuple[int, ...]]:
        """The words of letters with a space before them, each as its tokens."""
        word: list[int] = []
        for token in document:
            text = self.texts[token]
            if not (word and _LETTERS.fullmatch(text)):
                if word:
                    yield tuple(word)
                word = []
            if word or _BEGINNING.fullmatch(text):
                word.append(token)
        if word:
            yield tuple(word)

    def often(self, token: int) -> bool:
        """Whether a word occurs in enough documents, and not in too many."""
        return len(self.documents[token]) in _DOCUMENTS

    def quoted(self, tokens: Sequence[int]) -> str:
        """Some tokens as an explanation names them: `the token " a"`, `one of the tokens " a", " b"`."""
        listed = ", ".join(f'"{self.texts[token]}"' for token in tokens)
        return f"the token {listed}" if len(tokens) == 1 else f"one of the tokens {listed}"


def draw_plants(corpus: Corpus, per_kind: int, seed: int) -> list[Plant]:
    """`per_kind` plants of each kind, grouped by kind; fewer if the corpus has no more."""
    draw = _Draw(corpus, seed)
    plants = []
    for kind, found in draw.candidates().items():
        some = _by_hash(found, seed, kind)[:per_kind]
        for number, plant in enumerate(some):
            other = some[number - 1]  # a single plant's own
            explanations = {**plant.explanations, "of another": other.explanations["none"]}
            plants.append(plant._replace(explanations={fault: explanations[fault] for fault in FAULTS}))
    return plants


class _Draw:
    """Candidates of each kind in a corpus."""

    def __init__(self, corpus: Corpus, seed: int) -> None:
        self._corpus = corpus
        self._often = [token for token in corpus.words if corpus.often(token)]
        self._hashed = _by_hash(self._often, seed, "words")

    def candidates(self) -> dict[Kind, list[Plant]]:
        """Everything that could be planted, by kind."""
        return {
            "token": list(self._tokens()),
            "pair": list(self._pairs()),
            "topic": list(self._topics()),
            "position": list(self._positions()),
            "bytes": list(self._bytes()),
        }

    def _plant(
        self,
        kind: Kind,
        tokens: Sequence[int],
        true: str,
        broad: str,
        narrow: str,
        previous: Sequence[int] = (),
        positions: range = range(0),
    ) -> Plant:
        """A candidate; its wrong explanation and the words that it promotes are other words of the corpus."""
        key = f"{kind} {true}"
        shift = int(hashlib.sha256(key.encode()).hexdigest()[:8], 16)
        order = (self._hashed[(shift + step) % len(self._hashed)] for step in range(len(self._hashed)))
        drawn = list(islice((token for token in order if token not in {*tokens, *previous}), 4))
        promoted = () if positions else tuple(drawn[1:])
        said = self._corpus.quoted(drawn[1:])
        explanations: dict[Fault, str] = {
            "none": true,
            "too broad": broad,
            "too narrow": narrow,
            "wrong": self._corpus.quoted(drawn[:1]),
            "promoted": f"what makes {said} likely to come next",
            "echo": ECHO,
        }
        strengths = {token: 0.5 + (number % 5) / 4 for number, token in enumerate(tokens)}
        strengths = strengths if kind == "topic" else dict.fromkeys(tokens, 1.0)
        return Plant(kind, strengths, tuple(previous), positions, promoted, explanations)

    def _tokens(self) -> Iterator[Plant]:
        corpus, often = self._corpus, self._hashed
        for number, token in enumerate(often):
            found = corpus.previous[token].most_common(8)
            before = [each for each, _ in found if each >= 0 and _ANY_WORD.fullmatch(corpus.texts[each])]
            if before and corpus.previous[token][before[0]] < 0.6 * corpus.counts[token]:
                others = [often[(number + step) % len(often)] for step in range(1, 5)]
                true = corpus.quoted([token])
                narrow = f"{true} after {_or([corpus.texts[before[0]]])}"
                yield self._plant("token", [token], true, corpus.quoted([token, *others]), narrow)

    def _pairs(self) -> Iterator[Plant]:
        corpus = self._corpus
        for token in corpus.words:
            before = corpus.previous[token]
            words = [each for each, _ in before.most_common(12) if _ANY_WORD.fullmatch(corpus.texts[each])]
            first, second = [*words, -1, -1][:2]
            both = before[first] + before[second]
            is_fit = second >= 0 and both >= 40 and 0.1 <= both / corpus.counts[token] <= 0.8
            if is_fit and before[second] >= 0.15 * both and len(corpus.documents[token]) >= _DOCUMENTS.start:
                broad = corpus.quoted([token])
                true = f"{broad} after {_or([corpus.texts[first], corpus.texts[second]])}"
                narrow = f"{broad} after {_or([corpus.texts[first]])}"
                yield self._plant("pair", [token], true, broad, narrow, previous=(first, second))

    def _topics(self) -> Iterator[Plant]:
        corpus = self._corpus
        some = [token for token in corpus.words if 12 <= len(corpus.documents[token]) <= 80]
        stands_in = np.zeros((len(some), corpus.n_documents), np.float32)
        for row, token in enumerate(some):
            stands_in[row, list(corpus.documents[token])] = 1.0
        together = stands_in @ stands_in.T  # [words, words] number of documents with both
        n_documents = stands_in.sum(axis=1)
        lift = together * corpus.n_documents / np.outer(n_documents, n_documents)
        lift[(together < 6) | (lift < 3)] = 0.0
        np.fill_diagonal(lift, 0.0)
        nearest = np.argsort(-lift, axis=1, kind="stable")[:, :5]
        topics = [
            [some[row], *(some[each] for each in nearest[row])]
            for row in range(len(some))
            if lift[row, nearest[row, -1]] > 0
        ]
        for number, topic in enumerate(topics):
            other = [token for token in topics[(number + 1) % len(topics)] if token not in topic]
            if len(set().union(*(corpus.documents[token] for token in topic))) >= _DOCUMENTS.start:
                words = corpus.quoted(topic), corpus.quoted([*topic, *other]), corpus.quoted(topic[:2])
                yield self._plant("topic", topic, *words)

    def _positions(self) -> Iterator[Plant]:
        for first in range(_WIDTH, 31 * _WIDTH, _WIDTH):
            true = range(first, first + _WIDTH)
            broad, narrow = range(first - _WIDTH // 2, true.stop + _WIDTH // 2), range(first, first + _WIDTH // 2)
            yield self._plant("position", (), _at(true), _at(broad), _at(narrow), positions=true)

    def _bytes(self) -> Iterator[Plant]:
        corpus = self._corpus
        holding: dict[str, set[int]] = defaultdict(set)
        for token in corpus.words:
            word = corpus.texts[token].strip()
            for start in range(len(word) - 2):
                holding[word[start : start + 3]].add(token)
        n_holding: Counter[str] = Counter()
        n_firing: Counter[str] = Counter()
        for tokens_of, n in corpus.spelled.items():
            word = "".join(corpus.texts[token] for token in tokens_of).strip()
            for letters in {word[start : start + 3] for start in range(len(word) - 2)}:
                n_holding[letters] += n
                n_firing[letters] += n * (tokens_of[0] in holding.get(letters, ()))
        total = sum(corpus.counts.values())
        for letters, tokens in sorted(holding.items()):
            n = sum(corpus.counts[token] for token in tokens)
            most = sorted(tokens, key=lambda token: (-corpus.counts[token], token))
            is_true = n_firing[letters] >= _LEAST_TRUE * n_holding[letters]
            if is_true and len(tokens) >= 5 and 100 <= n <= total / 200 and corpus.counts[most[0]] < 0.6 * n:
                yield self._plant("bytes", most, _with(letters), _with(letters[:2]), corpus.quoted(most[:1]))


def _or(texts: Sequence[str]) -> str:
    return " or ".join(f'"{text}"' for text in texts)


def _at(positions: range) -> str:
    return f"the tokens at positions {positions.start} to {positions.stop - 1} of a text, whatever they are"


def _with(letters: str) -> str:
    return f'a word with a space before it that contains the letters "{letters}"'


def _by_hash(items: Sequence[Item], seed: int, purpose: str) -> list[Item]:
    return sorted(items, key=lambda each: hashlib.sha256(f"{seed} {purpose} {each!r}".encode()).digest())
