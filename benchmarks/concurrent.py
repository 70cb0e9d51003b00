"""Durable single commands from many callers at once, against the library's own application.

The same commands on both sides: a payment is seen, which begins its aggregate, and then consumed,
which goes on with it: half of them begin, half continue. Callers are threads of one process that
share one application, as in a service. The other side is written as the library's documentation
shows, with its own store on the same database server or disk, and a connection for every caller.
"""

from __future__ import annotations

import gc
import sqlite3
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from sqlalchemy import URL

from benchmarks.appending import ARENA, opened
from benchmarks.registry import Measurement, benchmark
from benchmarks.servers import empty_postgres_url, postgres_url, sqlite_url
from ledger.application import Ledger, Unit
from ledger.decisions.payment import Payment
from ledger.keys import payment_id

CALLERS: Final = 64
ALSO: Final = (1, 8, 16)
ROUNDS: Final = 5
COMMANDS: Final = {1: 600, 8: 1_600, 16: 2_400, 64: 6_400}
"""Commands in a round of ours, by callers."""
THEIR_COMMANDS: Final = {1: 300, 8: 400, 16: 480, 64: 1_280}
"""In a round of the library's, which would take ten times as long otherwise."""

_HASH: Final = "0x" + "ab" * 32
_SENDER: Final = "5" + "F" * 47
_FEE_RAO: Final = 100_000_000
_TIMEOUT_S: Final = "60"

Caller = Callable[[int], None]
"""Runs one caller's commands; the argument is how many payments it sees and consumes."""


class StockPayment(Aggregate):
    """The payment's rule as far as the two commands go, in the library's own style."""

    @event("Seen")
    def __init__(
        self,
        block: int,
        block_hash: str,
        extrinsic_index: int,
        extrinsic_hash: str,
        sender: str,
        treasury: str,
        amount_rao: int,
        outer_call: str,
        remarks: list[str],
    ) -> None:
        self.block = block
        self.block_hash = block_hash
        self.extrinsic_index = extrinsic_index
        self.extrinsic_hash = extrinsic_hash
        self.sender = sender
        self.treasury = treasury
        self.amount_rao = amount_rao
        self.outer_call = outer_call
        self.remarks = remarks
        self.consumed_by: str | None = None

    @event("Consumed")
    def consume(self, submission_id: str, hotkey: str, fee_rao: int, overpaid_rao: int) -> None:
        """Pay for one submission."""
        if self.consumed_by is not None:
            msg = f"payment {self.id} paid for submission {self.consumed_by} already"
            raise ValueError(msg)
        self.consumed_by = submission_id
        self.hotkey = hotkey
        self.fee_rao = fee_rao
        self.overpaid_rao = overpaid_rao


class StockPayments(Application[uuid.UUID]):
    """The two commands as the library's documentation writes them."""

    def see(self) -> uuid.UUID:
        """Begin a payment."""
        payment = StockPayment(
            block=1,
            block_hash=_HASH,
            extrinsic_index=1,
            extrinsic_hash=_HASH,
            sender=_SENDER,
            treasury=_SENDER,
            amount_rao=_FEE_RAO,
            outer_call="Balances.transfer_keep_alive",
            remarks=[],
        )
        self.save(payment)
        return payment.id

    def consume(self, identity: uuid.UUID) -> None:
        """Consume it."""
        payment: StockPayment = self.repository.get(identity)
        payment.consume(str(identity), _SENDER, _FEE_RAO, 0)
        self.save(payment)


def _see(unit: Unit, identity: uuid.UUID) -> None:
    unit.begin(Payment, identity).see(
        unit.context,
        f"payment-seen:{identity}",
        block=1,
        block_hash=_HASH,
        extrinsic_index=1,
        extrinsic_hash=_HASH,
        sender=_SENDER,
        treasury=_SENDER,
        amount_rao=_FEE_RAO,
        outer_call="Balances.transfer_keep_alive",
        remarks=(),
    )


def _consume(unit: Unit, identity: uuid.UUID) -> None:
    unit.get(Payment, identity).consume(unit.context, identity, _SENDER, _FEE_RAO)


@benchmark(
    "durable single commands a second from 64 callers through the ledger, over the same through the"
    " eventsourcing library's application and its SQLite store on the same disk",
    goal=10,
)
def append_concurrent_sqlite() -> Measurement:
    """Both keep WAL and a full flush per transaction, which the library has by default."""
    with tempfile.TemporaryDirectory(prefix="cacheon-bench-") as name:
        folder = Path(name)
        environment = {
            "PERSISTENCE_MODULE": "eventsourcing.sqlite",
            "SQLITE_DBNAME": str(folder / "stock.db"),
            "SQLITE_LOCK_TIMEOUT": _TIMEOUT_S,
        }
        return _measured(
            sqlite_url(folder), environment, f"SQLite {sqlite3.sqlite_version}, synchronous FULL"
        )


@benchmark(
    "durable single commands a second from 64 callers through the ledger, over the same through the"
    " eventsourcing library's application and its PostgreSQL store on the same server",
    goal=10,
)
def append_concurrent_postgres() -> Measurement:
    """The library's store has a pool of one connection a caller."""
    with tempfile.TemporaryDirectory(prefix="cacheon-bench-") as name:
        folder = Path(name)
        ours, theirs = postgres_url(folder), empty_postgres_url(folder)
        return _measured(ours, _postgres_environment(theirs), "PostgreSQL, fsync on")


def _postgres_environment(url: URL) -> dict[str, str]:
    host = url.query.get("host") or url.host or ""
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": url.database or "",
        "POSTGRES_HOST": host if isinstance(host, str) else host[0],
        "POSTGRES_PORT": str(url.port or 5432),
        "POSTGRES_USER": url.username or "",
        "POSTGRES_PASSWORD": url.password or "unused",
        "POSTGRES_POOL_SIZE": str(CALLERS),
        "POSTGRES_POOL_TIMEOUT": _TIMEOUT_S,
        "POSTGRES_CONNECT_TIMEOUT": _TIMEOUT_S,
        "POSTGRES_LOCK_TIMEOUT": _TIMEOUT_S,
    }


def _measured(url: str, environment: dict[str, str], database: str) -> Measurement:
    """Rounds in turn; in each, either side at every number of callers. The first only warms up."""
    ours: dict[int, list[float]] = {callers: [] for callers in (*ALSO, CALLERS)}
    theirs: dict[int, list[float]] = {callers: [] for callers in (*ALSO, CALLERS)}
    with _ledger(url) as ledger, StockPayments(environment) as stock:
        for number in range(ROUNDS + 1):
            for callers in (*ALSO, CALLERS):
                sides = [
                    (ours, _ours(ledger), COMMANDS[callers]),
                    (theirs, _theirs(stock), THEIR_COMMANDS[callers]),
                ]
                for figures, caller, commands in sides if number % 2 else sides[::-1]:
                    rate = _commands_a_second(caller, callers, commands)
                    if number:
                        figures[callers].append(rate)
    ratios = [own / their for own, their in zip(ours[CALLERS], theirs[CALLERS], strict=True)]
    by_callers = [
        (callers, median(ours[callers]), median(theirs[callers])) for callers in (*ALSO, CALLERS)
    ]
    figures_by_callers = "; ".join(
        f"{callers} callers: {own:,.0f}/s against {their:,.0f}/s ({own / their:.1f})"
        for callers, own, their in by_callers
    )
    return Measurement(
        median(ratios),
        ROUNDS,
        f"{figures_by_callers} (medians of {ROUNDS} interleaved rounds; ratios at {CALLERS} "
        f"{min(ratios):.1f} to {max(ratios):.1f}; threads of one process; {database})",
    )


@contextmanager
def _ledger(url: str) -> Iterator[Ledger]:
    engine = opened(url)
    try:
        yield Ledger(engine, ARENA)
    finally:
        engine.dispose()


def _ours(ledger: Ledger) -> Caller:
    def run(payments: int) -> None:
        for _ in range(payments):
            identity = payment_id(ARENA.genesis, f"0x{uuid.uuid4().hex}", 1)
            ledger.decide(lambda unit, one=identity: _see(unit, one))  # type: ignore[misc]
            ledger.decide(lambda unit, one=identity: _consume(unit, one))  # type: ignore[misc]

    return run


def _theirs(stock: StockPayments) -> Caller:
    def run(payments: int) -> None:
        for _ in range(payments):
            stock.consume(stock.see())

    return run


def _commands_a_second(caller: Caller, callers: int, commands: int) -> float:
    """Let that many callers go at once; every command must succeed."""
    failures: list[BaseException] = []
    ready = threading.Barrier(callers + 1)

    def run() -> None:
        ready.wait()
        try:
            caller(commands // callers // 2)
        except BaseException as error:  # noqa: BLE001  raised again by the measuring thread
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(callers)]
    for thread in threads:
        thread.start()
    gc.collect()
    ready.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    took_s = time.perf_counter() - start
    if failures:
        raise failures[0]
    return callers * (commands // callers // 2) * 2 / took_s
