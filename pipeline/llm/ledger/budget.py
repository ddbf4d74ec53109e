"""The budget: the most that an experiment may ask and spend in total, reserved before requests are sent.

All lines of the ledger count as spent, whichever run wrote them; but an oracle's answers count apart, so that a
rehearsal takes nothing from the budget of a real run. A request that is about to be sent is reserved at an upper
bound: one token per byte of the prompt, and an answer of maximum length. A reservation is a file that its process
holds a lock on, so that several processes share one budget, and the reservation of a process that died is void.
When an answer is recorded, its reservation ends and the excess can be reserved again. In a provider's batches that
takes a day, so there the bound is scaled by the largest share of it that answers have taken so far, plus a margin.

A record holds the usage of all attempts at its request, including failed ones. The reservation covers one attempt,
so requests in flight can exceed it if attempts fail that were charged. An attempt that failed without reporting
its usage, such as a time-out, is not counted, though a provider may charge for it.
"""

import fcntl
import json
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

from pipeline.errors import ConfigError, LakeError
from pipeline.llm.ledger.prices import Prices
from pipeline.llm.ledger.spent import Amount, Spent, most_usd, sum_of
from pipeline.llm.requests import Answer, Request

_WAIT_SECONDS = 10.0
_LOOK_AGAIN_SECONDS = 0.05
"""How long a process waits for other processes' reservations to end, most of which are too high, and how often it
checks."""

_SETTLED_AT_LEAST, _MARGIN = 20, 1.25
"""In batches, after this many answers: the margin on the largest share of its bound that one of them took."""

_own_reserved: dict[Path, Amount] = {}
"""What each open budget of this process has reserved, by its file. These files are not read: on a network
filesystem all locks of a process have one owner, so they would look free, and closing one would unlock it."""

_TOLERANCE_USD = 1e-9
"""Tolerance for rounding when a sum of prices is compared with the limit."""


class Limits(NamedTuple):
    """The most that may be asked and spent in total; None means no limit."""

    requests: int | None = None
    usd: float | None = None

    def allow(self, amount: "Amount") -> bool:
        """Whether an amount is within the limits."""
        return (self.requests is None or amount.requests <= self.requests) and (
            self.usd is None or amount.usd <= self.usd + _TOLERANCE_USD
        )


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
    """What may still be asked; a context manager.

    Args:
        spent: What was spent. Beside it are the processes' reservations.
        limits: The most in total.
        prices: Prices of the models to be asked.
        in_batch: Whether all requests go in a provider's batches, at their price.
        note: Stores the cheapest request that did not fit, which `is_spent` reads.
    """

    def __init__(
        self,
        spent: Spent,
        limits: Limits,
        prices: Prices,
        *,
        in_batch: bool = False,
        note: Callable[[bytes], object] = lambda wanted: None,
    ) -> None:
        self.limits = limits
        self._in_batch = in_batch
        self._folder = spent.folder
        self._prices = prices
        self._note = note
        self._spent = spent
        self._reserved: dict[str, _Reservation] = {}
        self._own = Amount()
        """The sum of this process's reservations."""
        self._n_settled, self._share = 0, 0.0
        """The number of answers with a known price, and the largest share of its bound that one of them took."""
        self._file: BinaryIO | None = None
        self._path = spent.folder / f"{uuid.uuid4()}.json"  # pids repeat across hosts

    def __enter__(self) -> Self:
        """Open this process's reservation. Raises LakeError if the folder cannot be written."""
        if self.is_limited:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                with self._locked():
                    self._spent.load()
                    self._file = self._path.open("w+b", buffering=0)
                    fcntl.flock(self._file, fcntl.LOCK_EX)
                    _own_reserved[self._path] = Amount()
            except OSError as error:
                raise LakeError(f"budget folder '{self._folder}' cannot be written: {error.strerror}") from None
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            with suppress(OSError), self._locked():  # if this fails, the next process reads more lines
                self._spent.save()
            self._path.unlink(missing_ok=True)
            del _own_reserved[self._path]
            self._file.close()  # releases the lock
            self._file = None

    @property
    def is_limited(self) -> bool:
        """Whether there is any limit."""
        return self.limits != Limits()

    def reserve(self, requests: Sequence[Request]) -> list[Request]:
        """The requests, in order, that fit into what is left; from now on they count as spent.

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
        """What fits now; and, if nothing does, whether something would fit without others' reservations."""
        self._spent.update()  # most of the reading happens before the lock is taken
        with self._locked():
            # Reservations first, so that an answer recorded in between counts twice rather than not at all.
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
            least, model = min((bound, request.model) for request, bound in zip(requests, bounds, strict=True))
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
            self._own = Amount()  # without rounding errors
        if ended:
            with self._locked():
                self._write()

    def _note_share(self, reserved: _Reservation, answer: Answer) -> None:
        """Update the largest share of its bound that an answer took."""
        counted = answer.prompt_tokens, answer.completion_tokens
        usd = self._prices.usd(reserved.model, *counted, in_batch=self._in_batch)
        if usd is not None and None not in counted and reserved.bound.usd > 0:
            self._n_settled += 1
            self._share = max(self._share, reserved.share * usd / reserved.bound.usd)

    @property
    def _likely_share(self) -> float:
        """The share of its upper bound at which a request is reserved."""
        if not self._in_batch or self._n_settled < _SETTLED_AT_LEAST:
            return 1.0
        return min(1.0, _MARGIN * self._share)

    def spent(self) -> Amount:
        """The sum of the ledger's lines."""
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
        """Exclude all other processes of the experiment."""
        with (self._folder / "lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _write(self) -> None:
        if self._file is not None:
            _own_reserved[self._path] = self._own
            self._file.seek(0)
            self._file.truncate()
            self._file.write(json.dumps(self._own._asdict()).encode())

    def _all_reserved(self) -> Amount:
        """What all running processes have reserved; the files of dead ones are deleted."""
        total = Amount()
        for path in self._folder.glob("*-*.json"):
            if path in _own_reserved:
                total = total.plus(_own_reserved[path])
                continue
            with suppress(FileNotFoundError), path.open("rb") as file:
                if _is_free(file):
                    path.unlink()
                    continue
                content = file.read()
                total = total.plus(Amount(**json.loads(content)) if content else Amount())
        return total


def asked_as(model: str, prices: Prices, *, in_batch: bool) -> str:
    """What a request's bound depends on besides its text: the model, its prices, and whether it is asked in
    batches."""
    return f"{model} {prices.digest()}{' in batches' if in_batch else ''}"


def is_spent(noted: bytes, spent: Amount, limits: Limits, asked: Collection[str]) -> bool:
    """Whether the cheapest request that did not fit into a budget still does not fit.

    `asked` are the current models and how they are asked (`asked_as`). If the request's is not among them, its
    price is taken to be 0, because the next request may be free.
    """
    try:
        wanted = json.loads(noted)
        usd = float(wanted["usd"]) if wanted["asked"] in asked else 0.0
    except (ValueError, TypeError, KeyError):  # nothing was noted, or the note is torn
        return False
    return not limits.allow(spent.plus(Amount(1, usd)))


def unpriced(model: str) -> ConfigError:
    """The error for a limit in USD and a model without a price."""
    return ConfigError(
        f"budget.max_usd is set, but the price file has no price for model '{model}'; add one (budget.prices "
        "names the file), or limit requests by budget.max_requests"
    )


def _is_free(file: BinaryIO) -> bool:
    """Whether no process holds the lock on a file, because its process has died."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
