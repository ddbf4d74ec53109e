"""What the lines of a ledger have cost, kept as sums so that no line is read twice."""

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from pipeline.config.asking import is_oracle
from pipeline.llm.ledger.prices import Price, Prices
from pipeline.llm.requests import UNANSWERED, Message

_TOKENS_A_MESSAGE = 8
_TOKENS_A_CHAT = 64
"""Tokens that chat templates add: role markers for each message; for the chat a BOS, and in some models a date."""

_TAIL_BYTES = 64
"""How many bytes before the end of what was read identify a file."""


class Amount(NamedTuple):
    """A number of requests and their cost."""

    requests: int = 0
    usd: float = 0.0

    def plus(self, other: "Amount") -> "Amount":
        """The sum of both."""
        return Amount(self.requests + other.requests, self.usd + other.usd)


def sum_of(amounts: Iterable[Amount]) -> Amount:
    """The sum of several amounts."""
    n, usd = 0, 0.0
    for amount in amounts:
        n, usd = n + amount.requests, usd + amount.usd
    return Amount(n, usd)


def most_usd(price: Price, messages: Iterable[Message], max_tokens: int) -> float:
    """The most that a request can cost: no tokenizer makes more tokens from a text than it has bytes."""
    lengths = [len(message.content.encode(errors="replace")) for message in messages]
    prompt_tokens = sum(lengths) + _TOKENS_A_MESSAGE * len(lengths) + _TOKENS_A_CHAT
    dearest = price.model_copy(update={"prompt": max(price.prompt, price.cached or 0), "cached": None})
    return dearest.usd(prompt_tokens, max_tokens)


class _Read(NamedTuple):
    """The sum of a file's first `end` bytes, and the last of these bytes in hexadecimal."""

    end: int
    tail: str
    amount: Amount


_NOTHING = _Read(0, "", Amount())


class Spent:
    """The sum of a ledger's lines; lines that were read once are not read again, by this process or a later one.

    Args:
        ledger: The ledger folder.
        prices: Prices for lines that carry none.
        folder: Has a file of sums for the next process: every batch needs what was spent, and a ledger may have
            millions of lines. If it is lost or torn, the lines are read again.
        of_oracle: Whether the answers of an oracle count, instead of those of models.
        look: Fetches the lines of other machines into the ledger folder; called before it is read.
    """

    def __init__(
        self,
        ledger: Path,
        prices: Prices,
        folder: Path,
        *,
        of_oracle: bool = False,
        look: Callable[[], None] = lambda: None,
    ) -> None:
        self._ledger = ledger
        self._look = look
        self._prices = prices
        self.folder = folder
        self._kept = folder / f"spent.{prices.digest()}.json"
        self._of_oracle = of_oracle
        self._read: dict[Path, _Read] = {}
        self._loaded: dict[Path, _Read] = {}
        """Sums of files that this process has not read yet."""

    def load(self) -> None:
        """Load the sums of an earlier process."""
        with suppress(OSError, ValueError, TypeError, AttributeError):
            kept = json.loads(self._kept.read_bytes())
            self._loaded = {
                self._ledger / name: _Read(end, tail, Amount(*amount))
                for name, (end, tail, amount) in kept.items()
            }

    def save(self) -> None:
        """Store the sums for the next process."""
        if self._read and self._read != self._loaded:  # otherwise nothing was read
            sums = {str(path.relative_to(self._ledger)): read for path, read in self._read.items()}
            self._kept.write_text(json.dumps(sums), encoding="utf-8")

    def update(self) -> Amount:
        """The current sum."""
        self._look()
        for path in self._ledger.rglob("*.jsonl"):
            self._update(path)
        return sum_of(read.amount for read in self._read.values())

    def _update(self, path: Path) -> None:
        known = self._read.get(path)
        size = path.stat().st_size
        if known and size == known.end:
            return
        with path.open("rb") as file:
            known = known or self._loaded.get(path, _NOTHING)
            if size < known.end or _tail(file, known.end) != known.tail:  # it was truncated or replaced
                known = _NOTHING
            end, amount = known.end, known.amount
            file.seek(end)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # it is being written
                end += len(line)
                amount = amount.plus(self._of(line))
            self._read[path] = _Read(end, _tail(file, end), amount)

    def _of(self, line: bytes) -> Amount:
        """The amount of a record: 0 if it is torn, was not sent, failed without reporting its usage, or is not of
        those that count."""
        try:
            record: dict[str, Any] = json.loads(line)
            used = record["prompt_tokens"], record["completion_tokens"], record["cached_tokens"]
            is_unsent = record["status"] == "refused" and record["attempts"] == 0
            # A server's model that is called oracle, too, reports its tokens.
            by_oracle = is_oracle(record["model"]) and used[:2] == (None, None)
            if by_oracle != self._of_oracle:
                return Amount()
            if is_unsent or (record["status"] in UNANSWERED and used[1] is None):
                return Amount()
            usd, in_batch = record["cost_usd"], record.get("batch_id") is not None
            if usd is None:  # recorded before there was a price: the current one
                usd = self._prices.usd(record["model"], *used, in_batch=in_batch)
            price = self._prices.of(record["model"])
            if usd is None and price is not None:  # the server did not report its usage
                messages = [Message(**message) for message in record["messages"]]
                asked = record["parameters"]
                price = price.in_batch if in_batch else price
                usd = most_usd(price, messages, asked["max_tokens"] + asked.get("reasoning_tokens", 0))
        except (ValueError, TypeError, KeyError):
            return Amount()
        # A probe costs a few tokens, but does not count as a request.
        return Amount(int(record.get("purpose") != "probe"), usd or 0.0)


def _tail(file: BinaryIO, end: int) -> str:
    """The bytes just before an offset, which include the end of the last record."""
    file.seek(max(0, end - _TAIL_BYTES))
    return file.read(min(end, _TAIL_BYTES)).hex()
