"""The grammar of rules, and its parser. `sql/rules/rule_words.sql` writes them.

    the token is ' stop', ' stops' or ' stopped'
    the token is ' stop' and the previous token is ' don''t'
    the token is ' stop' and the previous token is not ' don''t'
    the token is capitalised and one of the 3 tokens before is ' Mr' or ' Mrs'
    none of the 8 tokens before is '.'
    the position is below 4

A rule has a clause on the token, one on the preceding tokens of its context, and one on its position; at least one
of them, joined by `and`. A clause on tokens names a set of them, or a class. `the` may be left out, and so may
`token` after `previous`; `one of the last 3 tokens` is `one of the 3 tokens before`, without the token itself.
Tokens are in single quotes (a quote in them doubled) or in double ones, with JSON's escapes (`\\n`) or Python's
(`\\xa0`), as characters that cannot be printed are shown; or they are given by their number in the vocabulary
(`#198`), as tokens that share their text with others must be.

Source: the grammar that Juang et al. (2024) ask models for, "activates on <token or set> in the context of
<context>", in a form that a program can check.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

from pipeline.errors import RuleError, nearest

TokenClass = Literal["lower case", "capitalised", "upper case", "digits", "punctuation", "after a space"]

TOKEN_CLASSES: tuple[TokenClass, ...] = get_args(TokenClass)
"""Token classes, as defined by `sql/rules/token_classes.sql`."""

_ALSO_CALLED: dict[str, TokenClass] = {
    "lowercase": "lower case",
    "uppercase": "upper case",
    "capitalized": "capitalised",
}

_MAX_BEFORE = 64
"""The maximum number of preceding tokens that a rule may consider."""


class Named(NamedTuple):
    """What a clause names: tokens by text or number, or one class.

    Attributes:
        tokens: Texts, and numbers (`#198`); empty where a class is named.
        token_class: The class, or None.
        places: The position of each token in the rule's text, from 1.
    """

    tokens: tuple[str | int, ...] = ()
    token_class: TokenClass | None = None
    places: tuple[int, ...] = ()


class Rule(NamedTuple):
    """A parsed rule; None for a clause that it lacks.

    Attributes:
        text: Its text as given.
        token: What the token is.
        before: What one of the tokens before is, or what none of them is.
        n_before: Number of preceding tokens considered; 1: the previous one.
        is_excluded: Whether none of these may match `before`.
        position_below: The position in the context is below this; 0 is the first.
    """

    text: str
    token: Named | None = None
    before: Named | None = None
    n_before: int = 1
    is_excluded: bool = False
    position_below: int | None = None


def parse_rule(text: str) -> Rule:
    """Parse a rule. Raises RuleError, which names the position in the text and what is expected there."""
    return _Parser(text).rule()


def on_one_line(text: str) -> str:
    """The same rule on one line: white space between its words is one space; within tokens it is kept, escaped."""

    def rewritten(found: re.Match[str]) -> str:
        return "".join(map(_escaped, found["quoted"])) if found["quoted"] else " "

    return re.sub(rf"{_QUOTED}|\s+", rewritten, text.strip())


def _escaped(character: str) -> str:
    return character if character.isprintable() else json.dumps(character)[1:-1]


class Spellings(NamedTuple):
    """The tokens of a vocabulary by their text, and their number."""

    ids: dict[str, list[int]]
    n_tokens: int


def spellings_of(texts: Sequence[str]) -> Spellings:
    """The spellings of a vocabulary, from the text of every token by its id."""
    ids: dict[str, list[int]] = {}
    for token_id, text in enumerate(texts):
        ids.setdefault(text, []).append(token_id)
    return Spellings(ids, len(texts))


def rule_columns(rule: Rule, spellings: Spellings) -> dict[str, Any]:
    """A rule as the columns of a row: token ids in place of texts.

    Raises RuleError for a text that no token or several tokens have, and for a number beyond the vocabulary.
    """
    before = rule.before
    return {
        "token_ids": _token_ids(rule, rule.token, *spellings),
        "token_class": rule.token and rule.token.token_class,
        "previous_token_ids": _token_ids(rule, before, *spellings),
        "previous_class": before and before.token_class,
        "n_before": None if before is None else rule.n_before,
        "is_excluded": rule.is_excluded,
        "position_below": rule.position_below,
    }


def _token_ids(rule: Rule, named: Named | None, ids: dict[str, list[int]], n_tokens: int) -> list[int] | None:
    """The distinct ids of the tokens that a clause names, in order; None if it names none."""
    if named is None or named.token_class is not None:
        return None
    found: dict[int, None] = {}
    for token, place in zip(named.tokens, named.places, strict=True):
        known = ids.get(token, []) if isinstance(token, str) else [token] * (token < n_tokens)
        if not known and isinstance(token, int):
            raise _error(rule.text, place, f"the vocabulary has no token #{token}, only #0 to #{n_tokens - 1}")
        if not known:
            near = _nearest(str(token), ids)
            hint = f"; nearest: {near}" if near else ": several tokens spell it, if any do"
            raise _error(rule.text, place, f"no token is {token!r}{hint}")
        if len(known) > 1:
            numbers = ", ".join(f"#{each}" for each in known[:5])
            raise _error(rule.text, place, f"several tokens are {token!r}; choose one by number: {numbers}")
        found[known[0]] = None
    return list(found)


def _nearest(text: str, ids: dict[str, list[int]]) -> str:
    """Suggestions for a text that is not a token: other spellings of the word, or its beginning; may be empty."""
    word = text.strip().lower()
    same = [known for known in ids if known.strip().lower() == word]
    longest = next((text[:end] for end in range(len(text), 0, -1) if text[:end] in ids), None)
    return nearest(text, [*same, *([] if longest is None else [longest])])


_CURLY = frozenset("\u2018\u2019\u201c\u201d\u00ab\u00bb")
_QUOTED = r"(?s:(?P<quoted>'(?:[^']|'')*'|\"(?:[^\"\\]|\\.)*\"))"
_WORD = re.compile(rf"\s*(?:{_QUOTED}|(?P<word>#?\w+|,|.))", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|U([0-9A-Fa-f]{8})|.)", re.DOTALL)


class _Word(NamedTuple):
    """A word of a rule's text, a quoted token or a comma; place: of its first character, from 1."""

    said: str
    place: int

    @property
    def is_quoted(self) -> bool:
        return self.said[:1] in {"'", '"'} and len(self.said) > 1


class _Parser:
    """Reads a rule's words from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._words = [
            _Word(found["quoted"] or found["word"], found.start(found.lastgroup or 0) + 1)
            for found in _WORD.finditer(text.rstrip())
        ]
        self._next = 0

    def rule(self) -> Rule:
        """clause {"and" clause}"""
        rule = Rule(self._text)
        while True:
            rule = self._clause(rule)
            if self._next == len(self._words):
                return rule
            self._expect("and", "'and' with a further clause, or the end")

    def _clause(self, rule: Rule) -> Rule:
        """["the"] ("token" … | "previous" … | "position" …) | ("one" | "none") "of the" …"""
        begin = self._place
        self._take("the")
        if self._take("token"):
            self._expect("is", "'is'")
            self._refuse_again(rule.token, "the token", begin)
            if self._take("not"):
                raise self._wrong("what the token is: 'not' is for the tokens before it", back=1)
            return rule._replace(token=self._named())
        if self._take("previous"):
            self._take("token")
            self._expect("is", "'is'")
            self._refuse_again(rule.before, "what precedes the token", begin)
            return rule._replace(is_excluded=self._take("not"), n_before=1, before=self._named())
        if self._take("position"):
            self._expect("is", "'is below' and a number")
            self._expect("below", "'below' and a number")
            self._refuse_again(rule.position_below, "the position", begin)
            return rule._replace(position_below=self._number(1, 1 << 20))
        is_none = self._take("none")
        if is_none or self._take("one") or self._take("any"):
            n_before = self._window()
            self._expect("is", "'is'")
            self._refuse_again(rule.before, "what precedes the token", begin)
            return rule._replace(is_excluded=is_none, n_before=n_before, before=self._named())
        raise self._wrong(
            "'the token is …', 'the previous token is …', 'one of the 3 tokens before is …' or "
            "'the position is below …'"
        )

    def _window(self) -> int:
        """ "of" ["the"] ("last" n "tokens" | n "tokens before")"""
        self._expect("of", "'of the 3 tokens before'")
        self._take("the")
        is_last = self._take("last")
        n_before = self._number(1, _MAX_BEFORE)
        self._expect("tokens", "'tokens'")
        if not self._take("before") and not is_last:
            raise self._wrong("'before'")
        return n_before

    def _named(self) -> Named:
        """A class, or token {("," | "or") token}"""
        word = self._peek()
        if word is not None and (also := _ALSO_CALLED.get(word.said.lower())):
            self._next += 1
            return Named(token_class=also)
        for token_class in TOKEN_CLASSES:
            parts = token_class.split()
            here = [each.said.lower() for each in self._words[self._next : self._next + len(parts)]]
            if here == parts:
                self._next += len(parts)
                return Named(token_class=token_class)
        tokens, places = [], []
        while True:
            places.append(self._place)
            tokens.append(self._token())
            if not self._take(",") and not self._take("or"):
                return Named(tuple(tokens), places=tuple(places))

    def _token(self) -> str | int:
        word = self._peek()
        if word is not None and re.fullmatch(r"#[0-9]{1,9}", word.said):
            self._next += 1
            return int(word.said[1:])
        if word is None or not word.is_quoted:
            if word is not None and word.said in _CURLY:
                raise _error(self._text, word.place, f"found {word.said}; quotes are straight ones, ' or \"")
            if word is not None and word.said in {"'", '"'}:
                raise _error(self._text, word.place, "the quote is not closed; double a quote within a token")
            raise self._wrong(f"a token in quotes, such as ' stop', or a class: {', '.join(TOKEN_CLASSES)}")
        inner = word.said[1:-1]
        if word.said[0] == "'":
            # Between single quotes a double one needs no backslash.
            inner = re.sub(r'(\\.)|"', lambda found: found[1] or '\\"', inner.replace("''", "'"))
        try:
            text: str = json.loads(f'"{_ESCAPE.sub(_in_json, inner)}"', strict=False)
        except (ValueError, OverflowError):
            raise _error(
                self._text, word.place, f"{word.said} has a backslash that is not an escape; double it"
            ) from None
        if not text:
            raise _error(self._text, word.place, "a token has at least one character")
        self._next += 1
        return text

    def _number(self, least: int, most: int) -> int:
        word = self._peek()
        if word is None or not re.fullmatch(r"[0-9]{1,7}", word.said) or not least <= int(word.said) <= most:
            raise self._wrong(f"a number from {least} to {most}")
        self._next += 1
        return int(word.said)

    def _peek(self) -> _Word | None:
        return self._words[self._next] if self._next < len(self._words) else None

    @property
    def _place(self) -> int:
        word = self._peek()
        return len(self._text.rstrip()) + 1 if word is None else word.place

    def _take(self, said: str) -> bool:
        """Whether this word comes next; then it is read."""
        word = self._peek()
        is_next = word is not None and word.said.lower() == said
        self._next += is_next
        return is_next

    def _expect(self, said: str, words: str) -> None:
        if not self._take(said):
            raise self._wrong(words)

    def _refuse_again(self, clause: object, what: str, place: int) -> None:
        if clause is not None:
            raise _error(self._text, place, f"{what} is stated twice; a rule has one clause for it")

    def _wrong(self, expected: str, back: int = 0) -> RuleError:
        self._next -= back
        word = self._peek()
        found = "it ends here" if word is None else f"found {word.said}"
        return _error(self._text, self._place, f"{found}, expected {expected}")


def _in_json(escape: re.Match[str]) -> str:
    """An escape as JSON writes it, which has no `\\xa0` or `\\U0001f3fb`."""
    code = escape[1] or escape[2]
    return json.dumps(chr(int(code, 16)))[1:-1] if code else escape[0]


def _error(text: str, place: int, words: str) -> RuleError:
    return RuleError(f"rule “{text}”, character {place}: {words}")
