"""What the views know of each account that the outside can confirm, as the reconciler takes it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Table, and_, or_, select

from ledger.books import accounts
from ledger.books.lines import (
    Account,
    BookedLine,
    ClaimedDeposit,
    MeteredCost,
    ObservedBalance,
    Period,
    Proof,
    SeenMovement,
)
from ledger.books.reconcile import Known
from ledger.projections import treasury as view
from ledger.projections.journal import postings
from ledger.projections.payments import UNCLAIMED, payments
from ledger.projections.weights import policies
from ledger.queries.invoiced import invoice_lines
from ledger.queries.scope import Scope
from ledger.store.schema import events

_OWN_PROOF: Final = frozenset(
    {"payment.seen", "seen.network_fee", "seen.alpha_earned", "treasury.buyback_bought"}
)
"""Facts that were themselves read from finalized blocks."""

_BY_REASON: Final = frozenset({"treasury.adjusted", "treasury.contributed"})
"""Bookings of which no movement has to be seen: a person's correction, and gifts of other assets
(one of TAO claims a deposit)."""

_FREE: Final = frozenset({*UNCLAIMED, "contributed"})
"""The states of a payment that a contribution may name: it makes the payment a contributed one."""

_COSTS: Final = frozenset({"rental.cost_booked", "rental.cost_corrected"})


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A posting recorded after the period it is about was closed."""

    period: int | None
    """The closed period; None for what is about blocks before the first one."""
    line: BookedLine


@dataclass(frozen=True, slots=True)
class Books:
    """The books of an arena at a prefix of its log."""

    opened_at: int
    periods: list[Period]
    known: dict[Account, Known]

    def open_from(self) -> int:
        """Where the open period begins."""
        return self.periods[-1].to_block if self.periods else self.opened_at

    def accounts_up_to(self, block: int, position: int | None = None) -> list[Account]:
        """Those of which something is known up to a block, and to a position; always the address's.

        What an account does later leaves what was before as it was.
        """

        def counts(about_block: int, recorded_at: int) -> bool:
            return about_block <= block and (position is None or recorded_at <= position)

        return [
            account
            for account, known in self.known.items()
            if account.name == accounts.TREASURY
            or any(counts(line.about_block, line.position) for line in known.booked)
            or any(counts(one.about_block, one.position) for one in known.balances)
        ]

    def adjustments_in(self, number: int) -> list[Adjustment]:
        """What was recorded in that period, or the open one, about blocks closed before it."""
        earlier = [period for period in self.periods if period.number < number]
        own = next((period for period in self.periods if period.number == number), None)
        if not earlier:
            since, closed_to = 0, self.opened_at
        else:
            since, closed_to = earlier[-1].closed_at or 0, earlier[-1].to_block
        until = None if own is None else own.closed_at
        found = []
        for known in self.known.values():
            for line in known.booked:
                if line.about_block > closed_to or line.position <= since:
                    continue
                if until is not None and line.position > until:
                    continue
                period = next((one.number for one in earlier if line.about_block in one), None)
                found.append(Adjustment(period, line))
        return sorted(found, key=lambda one: one.line.position)


def books_of(scope: Scope) -> Books:
    """Read the books of the scope's prefix of the log."""
    own = accounts.TREASURY
    chain = (accounts.TAO, accounts.alpha(scope.head.netuid))
    booked: dict[tuple[str, str], list[BookedLine]] = {(own, asset): [] for asset in chain}
    gifts: list[BookedLine] = []
    costs: dict[str, list[MeteredCost]] = defaultdict(list)
    for row in _with_events(scope, postings, _of_interest()):
        kind = _kind(row["topic"])
        line = BookedLine(
            row["about_block"],
            row["account"],
            row["asset"],
            row["amount"],
            row["reference"] or None,
            row["position"],
            row["fact_key"],
            _proof(kind),
        )
        if line.account == accounts.CONTRIBUTIONS:
            gifts.append(line)
            continue
        booked.setdefault((line.account, line.asset), []).append(line)
        if kind in _COSTS and line.reference:
            provider = accounts.provider_of(line.account) or ""
            costs[line.account].append(
                MeteredCost(
                    line.reference,
                    provider,
                    -line.amount,
                    line.about_block,
                    line.position,
                    line.fact,
                )
            )
    balances: dict[tuple[str, str], list[ObservedBalance]] = defaultdict(list)
    for row in _with_events(scope, view.balances):
        name, amount = _account_of(row["asset"], row["account"], row["amount"])
        balances[name, row["asset"]].append(
            ObservedBalance(
                row["asset"],
                name,
                row["account"],
                amount,
                row["about_block"],
                row["position"],
                row["fact_key"],
            )
        )
    seen: dict[str, list[SeenMovement]] = defaultdict(list)
    for row in _with_events(scope, view.outflows):
        seen[row["asset"]].append(
            SeenMovement(
                row["block"],
                row["reference"] or f"block {row['block']}",
                row["asset"],
                -row["amount"],
                row["position"],
                row["fact_key"],
                row["what"],
            )
        )
    invoiced = invoice_lines(scope)
    claims = _claims(scope, gifts)
    known = {}
    for name, asset in sorted({*booked, *balances}):
        account = Account(name, asset, steps_by_block=name == own)
        known[account] = Known(
            booked=booked.get((name, asset), []),
            balances=balances.get((name, asset), []),
            seen=seen[asset] if name == own else (),
            claims=claims if (name, asset) == (own, accounts.TAO) else (),
            provider=accounts.provider_of(name),
            costs=costs.get(name, []),
            other_costs=costs.get(accounts.beside(name) or "", []),
            invoiced=invoiced if accounts.provider_of(name) is not None else (),
        )
    return Books(_opened_at(scope), _periods(scope), known)


def _of_interest() -> Any:
    account = postings.c.account
    return or_(
        account.startswith("assets:"),
        account.startswith("liabilities:payable:"),
        and_(account == accounts.CONTRIBUTIONS, postings.c.asset == accounts.TAO),
    )


def _with_events(scope: Scope, table: Table, *conditions: Any) -> Iterable[Any]:
    """The rows of an appended table at the scope's position, each with its event."""
    query = (
        select(table, events.c.topic, events.c.fact_key)
        .join(
            events,
            and_(events.c.log_id == table.c.log_id, events.c.position == table.c.position),
        )
        .where(table.c.log_id == scope.head.log_id, table.c.position <= scope.position, *conditions)
        .order_by(table.c.position, table.c.line)
    )
    return scope.connection.execute(query).mappings()


def _kind(topic: str) -> str:
    """An event's topic without its version."""
    return topic.rpartition(".v")[0]


def _proof(kind: str) -> Proof:
    if kind in _OWN_PROOF:
        return "chain"
    return "reason" if kind in _BY_REASON else "needed"


def _account_of(asset: str, holder: str, amount: int) -> tuple[str, int]:
    """The journal's account of a stated balance, and the balance with the journal's sign."""
    if asset != accounts.USD:
        return accounts.TREASURY, amount
    if holder.startswith(accounts.PAYABLE_HOLDER):
        return accounts.payable(holder.removeprefix(accounts.PAYABLE_HOLDER)), -amount
    return accounts.provider(holder), amount


def _claims(scope: Scope, gifts: list[BookedLine]) -> list[ClaimedDeposit]:
    """What the contributions of TAO claim of the deposits seen."""
    claims = []
    for gift in gifts:
        reference = gift.reference or ""
        taken_by, taken_at = _taken(scope, reference, gift.about_block)
        claims.append(
            ClaimedDeposit(
                gift.about_block,
                reference,
                gift.asset,
                -gift.amount,
                taken_by,
                gift.position,
                gift.fact,
                taken_at,
            )
        )
    return claims


def _taken(scope: Scope, reference: str, block: int) -> tuple[str | None, int]:
    """What else became of the deposit that a contribution names, and the position it did so at.

    An extrinsic's hash can stand in two blocks: the deposit of the contribution's block is meant,
    where there is one.
    """
    query = select(payments.c.block, payments.c.status, payments.c.since).where(
        payments.c.log_id == scope.head.log_id,
        payments.c.since <= scope.position,
        payments.c.extrinsic_hash == reference,
    )
    versions = list(scope.connection.execute(query.order_by(payments.c.since)))
    own = [row for row in versions if row.block == block] or versions
    taken = next((row for row in own if row.status not in _FREE), None)
    return (None, 0) if taken is None else (taken.status, taken.since)


def _periods(scope: Scope) -> list[Period]:
    return [
        Period(row["number"], row["from_block"], row["to_block"], row["position"])
        for row in scope.rows(view.periods)
    ]


def _opened_at(scope: Scope) -> int:
    return min(int(row["from_block"]) for row in scope.rows(policies))
