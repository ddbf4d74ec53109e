"""The budget: what an experiment may ask and spend in total, reserved before it is sent.

What the ledger's lines hold is spent, whoever asked. What is about to be sent is reserved at an upper bound:
every byte of a prompt could be a token, and an answer as long as it may be. A reservation is a file that its
process holds a lock on, so that several processes share one budget, and that of a process which died is void.
As answers are recorded their reservations end, and what they were too high by can be reserved anew. That takes a
day in a provider's batches: there the answers so far say how much too high the bound is, and a margin is added.

A record holds what all attempts at its request used, failed ones included; the reservation is for one attempt, so
what is in flight can pass it where attempts fail that were paid. Not counted is an attempt that failed without
saying what it used, such as a time-out, though a provider may charge for it.
"""

import fcntl
import json
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Self

from pipeline.errors import ConfigError, LakeError
from pipeline.llm.ledger.prices import Price, Prices
from pipeline.llm.requests import UNANSWERED, Answer, Message, Request

_TOKENS_A_MESSAGE = 8
_TOKENS_A_CHAT = 64
"""What chat templates add: role marks to each message; to the chat a BOS, and for some models a date."""

_WAIT_SECONDS = 10.0
_LOOK_AGAIN_SECONDS = 0.05
"""How long, and how often, a process waits for the reservations of others to end, as most turn out too high."""

_SETTLED_AT_LEAST, _MARGIN = 20, 1.25
"""In batches a request is reserved at the largest share of its bound that so many answers took, with a margin."""

_TOLERANCE_USD = 1e-9
"""A sum of prices that is above the limit by rounding alone is within it."""


class Limits(NamedTuple):
    """The most that may be asked and spent in total; None: no limit."""

    requests: int | None = None
    usd: float | None = None

    def allow(self, amount: "Amount") -> bool:
        """Whether an amount is within the limits."""
        return (self.requests is None or amount.requests <= self.requests) and (
            self.usd is None or amount.usd <= self.usd + _TOLERANCE_USD
        )


class Amount(NamedTuple):
    """Requests, and what they cost."""

    requests: int = 0
    usd: float = 0.0

    def plus(self, other: "Amount") -> "Amount":
        """Both together."""
        return Amount(self.requests + other.requests, self.usd + other.usd)


class _Reservation(NamedTuple):
    """What a request may take of the budget.

    Attributes:
        model: The model that is asked.
        bound: What is reserved.
        share: The part of the upper bound that this is.
    """

    model: str
    bound: Amount
    share: float


class Budget:
    """What may still be asked; use it as a context manager.

    Args:
        folder: Where processes leave their reservations.
        ledger: The folder whose lines are what was spent.
        limits: The most in total.
        prices: What the models cost that are asked.
        paid: What those cost whose answers the ledger holds, where a line has no price; left out, `prices`.
        in_batch: All that is asked goes in a provider's batch, at its price.
        look: Has the lines of other machines in the ledger's folder; called before it is read.
        note: Keeps what `is_spent` is to read: the least request that did not fit.
    """

    def __init__(
        self,
        folder: Path,
        ledger: Path,
        limits: Limits,
        prices: Prices,
        paid: Prices | None = None,
        *,
        in_batch: bool = False,
        look: Callable[[], None] = lambda: None,
        note: Callable[[bytes], object] = lambda wanted: None,
    ) -> None:
        self.limits = limits
        self._in_batch = in_batch
        self._folder = folder
        self._prices = prices
        self._note = note
        paid = paid or prices
        self._spent = _Spent(ledger, paid, look, folder / f"spent.{paid.digest()}.json")
        self._reserved: dict[str, _Reservation] = {}
        self._own = Amount()
        """The sum of what this process has reserved."""
        self._n_settled, self._share = 0, 0.0
        """Answers of which the price is known, and the largest share of its bound that one of them took."""
        self._file: BinaryIO | None = None
        self._path = folder / f"{uuid.uuid4()}.json"  # a pid is one of each host

    def __enter__(self) -> Self:
        """Open this process's reservation. Raises LakeError if it cannot be."""
        if self.is_limited:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                with self._locked():
                    self._spent.load()
                    self._file = self._path.open("w+b", buffering=0)
                    fcntl.flock(self._file, fcntl.LOCK_EX)
            except OSError as error:
                raise LakeError(f"budget folder '{self._folder}' cannot be written: {error.strerror}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            with suppress(OSError), self._locked():  # else the next process reads more lines
                self._spent.save()
            self._path.unlink(missing_ok=True)
            self._file.close()  # which gives up the lock
            self._file = None

    @property
    def is_limited(self) -> bool:
        """Whether there is any limit."""
        return self.limits != Limits()

    def reserve(self, requests: Sequence[Request]) -> list[Request]:
        """The requests, in their order, that fit into what is left; they count as spent from now on.

        Raises ConfigError if there is a limit in USD and no price for a model.
        """
        if not self.is_limited:
            return list(requests)
        bounds = [self._bound(request) for request in requests]
        deadline = time.monotonic() + _WAIT_SECONDS
        while True:
            fitting, may_fit_later = self._try_to_reserve(requests, bounds)
            if fitting or not may_fit_later or time.monotonic() > deadline:
                return fitting
            time.sleep(_LOOK_AGAIN_SECONDS)

    def _try_to_reserve(self, requests: Sequence[Request], bounds: Sequence[Amount]) -> tuple[list[Request], bool]:
        """What fits now; and whether, if nothing does, something would without the reservations of others."""
        self._spent.update()  # most of the reading, while others can go on
        with self._locked():
            # Reservations first: an answer that is recorded meanwhile counts twice rather than not at all.
            reserved = self._all_reserved()
            spent = self._spent.update()
            total = reserved.plus(spent)
            fitting = []
            for request, bound in zip(requests, bounds, strict=True):
                if self.limits.allow(total.plus(bound)):
                    total = total.plus(bound)
                    self._reserved[request.request_id] = _Reservation(request.model, bound, self._likely_share)
                    fitting.append(request)
            self._own = sum_of(each.bound for each in self._reserved.values())
            self._write()
            if fitting or not requests:
                return fitting, False
            least, model = min(
                (bound, request.model) for request, bound in zip(requests, bounds, strict=True)
            )
            wanted = {"asked": asked_as(model, self._prices, in_batch=self._in_batch), "usd": least.usd}
            self._note(json.dumps(wanted).encode())
        return [], reserved != Amount() and self.limits.allow(spent.plus(least))

    def settle(self, answers: Iterable[Answer]) -> None:
        """End the reservations of requests whose answers have been recorded."""
        ended = [
            (reserved, answer)
            for answer in answers
            if (reserved := self._reserved.pop(answer.request_id, None)) is not None
        ]
        for reserved, answer in ended:
            self._own = self._own.plus(Amount(-1, -reserved.bound.usd))
            self._note_share(reserved, answer)
        if not self._reserved:
            self._own = Amount()  # and not what rounding has left
        if ended:
            with self._locked():
                self._write()

    def _note_share(self, reserved: _Reservation, answer: Answer) -> None:
        """Note which share of its bound an answer took."""
        counted = answer.prompt_tokens, answer.completion_tokens
        usd = self._prices.usd(reserved.model, *counted, in_batch=self._in_batch)
        if usd is not None and None not in counted and reserved.bound.usd > 0:
            self._n_settled += 1
            self._share = max(self._share, reserved.share * usd / reserved.bound.usd)

    @property
    def _likely_share(self) -> float:
        """The part of its upper bound that a request is reserved at."""
        if not self._in_batch or self._n_settled < _SETTLED_AT_LEAST:
            return 1.0
        return min(1.0, _MARGIN * self._share)

    def spent(self) -> Amount:
        """What the ledger holds."""
        return self._spent.update()

    def _bound(self, request: Request) -> Amount:
        if self.limits.usd is None:
            return Amount(1)
        price = self._prices.of(request.model)
        if price is None:
            raise unpriced(request.model)
        price = price.in_batch if self._in_batch else price
        return Amount(1, self._likely_share * most_usd(price, request.messages, request.most_tokens))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among all processes of the experiment."""
        with (self._folder / "lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _write(self) -> None:
        if self._file is not None:
            self._file.seek(0)
            self._file.truncate()
            self._file.write(json.dumps(self._own._asdict()).encode())

    def _all_reserved(self) -> Amount:
        """What all living processes have reserved; the files of dead ones are cleared away.

        The own file is not opened again: on network filesystems closing it would give its lock up.
        """
        total = self._own
        for path in self._folder.glob("*-*.json"):
            if path == self._path:
                continue
            with suppress(FileNotFoundError), path.open("rb") as file:
                if _is_free(file):
                    path.unlink()
                    continue
                content = file.read()
                total = total.plus(Amount(**json.loads(content)) if content else Amount())
        return total


def sum_of(amounts: Iterable[Amount]) -> Amount:
    """Several amounts together."""
    n, usd = 0, 0.0
    for amount in amounts:
        n, usd = n + amount.requests, usd + amount.usd
    return Amount(n, usd)


def most_usd(price: Price, messages: Iterable[Message], max_tokens: int) -> float:
    """The most that a request can cost: no tokenizer makes more tokens of a text than it has bytes."""
    lengths = [len(message.content.encode(errors="replace")) for message in messages]
    prompt_tokens = sum(lengths) + _TOKENS_A_MESSAGE * len(lengths) + _TOKENS_A_CHAT
    dearest = price.model_copy(update={"prompt": max(price.prompt, price.cached or 0), "cached": None})
    return dearest.usd(prompt_tokens, max_tokens)


def asked_as(model: str, prices: Prices, *, in_batch: bool) -> str:
    """What the bound of a request hangs on beside its words: the model, its prices, and how it is asked."""
    return f"{model} {prices.digest()}{' in batches' if in_batch else ''}"


def is_spent(noted: bytes, spent: Amount, limits: Limits, asked: Collection[str]) -> bool:
    """Whether the least request that did not fit into a budget does not fit today either.

    `asked` is how today's models are asked (`asked_as`). Of one that is not among them, or costs nothing, it is
    only known that a request is to come, which may be free.
    """
    try:
        wanted = json.loads(noted)
        usd = float(wanted["usd"]) if wanted["asked"] in asked else 0.0
    except (ValueError, TypeError, KeyError):  # nothing was noted, or not whole
        return False
    return not limits.allow(spent.plus(Amount(1, usd)))


def unpriced(model: str) -> ConfigError:
    """The error of a limit in USD without a price."""
    return ConfigError(
        f"budget.max_usd is set, but the price file has no price for model '{model}'; add one (budget.prices "
        "names the file), or limit requests by budget.max_requests"
    )


_TAIL_BYTES = 64


class _Read(NamedTuple):
    """What the first `end` bytes of a file add up to, and the last of these, in hexadecimal digits."""

    end: int
    tail: str
    amount: Amount


_NOTHING = _Read(0, "", Amount())


class _Spent:
    """What the lines of a ledger add up to; lines read once are not read again, by this process or a later one.

    `kept` is where sums are handed on: every batch asks what was spent, and a ledger may have millions of lines.
    It may be lost or torn, then they are read.
    """

    def __init__(self, ledger: Path, prices: Prices, look: Callable[[], None], kept: Path) -> None:
        self._ledger = ledger
        self._look = look
        self._prices = prices
        self._kept = kept
        self._read: dict[Path, _Read] = {}
        self._loaded: dict[Path, _Read] = {}
        """Of files that this process has not looked at yet."""

    def load(self) -> None:
        """Take the sums of an earlier process."""
        with suppress(OSError, ValueError, TypeError, AttributeError):
            kept = json.loads(self._kept.read_bytes())
            self._loaded = {
                self._ledger / name: _Read(end, tail, Amount(*amount))
                for name, (end, tail, amount) in kept.items()
            }

    def save(self) -> None:
        """Hand the sums on."""
        if self._read and self._read != self._loaded:  # else nobody asked what was spent
            sums = {str(path.relative_to(self._ledger)): read for path, read in self._read.items()}
            self._kept.write_text(json.dumps(sums), encoding="utf-8")

    def update(self) -> Amount:
        """The sum by now."""
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
            if size < known.end or _tail(file, known.end) != known.tail:  # it was cut, or is another
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
        """What a record was: nothing if it is torn, was not sent, or failed without a word of what it used."""
        try:
            record: dict[str, Any] = json.loads(line)
            used = record["prompt_tokens"], record["completion_tokens"], record["cached_tokens"]
            is_unsent = record["status"] == "refused" and record["attempts"] == 0
            if is_unsent or (record["status"] in UNANSWERED and used[1] is None):
                return Amount()
            usd, in_batch = record["cost_usd"], record.get("batch_id") is not None
            if usd is None:  # recorded before there was a price: at today's
                usd = self._prices.usd(record["model"], *used, in_batch=in_batch)
            price = self._prices.of(record["model"])
            if usd is None and price is not None:  # the server did not say what it used
                messages = [Message(**message) for message in record["messages"]]
                asked = record["parameters"]
                price = price.in_batch if in_batch else price
                usd = most_usd(price, messages, asked["max_tokens"] + asked.get("reasoning_tokens", 0))
        except (ValueError, TypeError, KeyError):
            return Amount()
        # A probe costs its few tokens, but nobody asked for it.
        return Amount(int(record.get("purpose") != "probe"), usd or 0.0)


def _tail(file: BinaryIO, end: int) -> str:
    """The bytes before a place in a file, which end in those of a record."""
    file.seek(max(0, end - _TAIL_BYTES))
    return file.read(min(end, _TAIL_BYTES)).hex()


def _is_free(file: BinaryIO) -> bool:
    """Whether no process holds the lock on a file: the one that did has died."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
