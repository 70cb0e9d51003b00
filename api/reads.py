"""The answers of every read of an arena, shaped once: a scope and a page in, an answer type out.

What these functions give is the body that the HTTP API sends for the same question; the command
line writes it as JSON or lays it out as tables. Nothing here knows a web framework.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from uuid import UUID

import msgspec

from api.addresses import require_known
from api.answers import (
    AccountBalance,
    Arenas,
    BuybackLine,
    CommitLine,
    ContestLine,
    Emissions,
    JournalLine,
    Listing,
    Part,
    PaymentLine,
    Payouts,
    PolicyView,
    ReignLine,
    RentalLine,
    SealedLine,
    Status,
    SubmissionLine,
    TreasuryAnswer,
    TreasuryReconciled,
    WeightsCompared,
    WeightsExplained,
    shaped,
)
from api.limits import DEFAULT_LIMIT
from api.status import arena_line, status_of
from ledger.addresses import require_ss58
from ledger.decisions.base import DecisionRefusedError
from ledger.projections import weights as weights_view
from ledger.queries import contests as ask_contests
from ledger.queries import payments as ask_payments
from ledger.queries import reigns as ask_reigns
from ledger.queries import rentals as ask_rentals
from ledger.queries import submissions as ask_submissions
from ledger.queries import treasury as ask_treasury
from ledger.queries.comparison import WeightsStatus, compared, explained
from ledger.queries.comparison import weights_status as ask_weights_status
from ledger.queries.emissions import epochs, ramp_now
from ledger.queries.payout_sums import PayoutPeriod, by_period, totals
from ledger.queries.payouts import PayoutLine, payouts_page
from ledger.queries.scope import Scope
from ledger.queries.weights import (
    SentVector,
    VectorView,
    policy_in_force,
    sent_vectors,
    vector_in_force,
    vector_view,
)
from ledger.store.logs import LogHead

ItemT = TypeVar("ItemT")


PayoutsBy = Literal["epoch", "period"]
"""How a statement is laid out."""


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of a list is asked for: ``limit`` items after the first ``offset``."""

    limit: int = DEFAULT_LIMIT
    offset: int = 0

    def cut(self, items: Sequence[ItemT]) -> Sequence[ItemT]:
        """The items of the window."""
        return items[self.offset : self.offset + self.limit]

    def part(self, items: Sequence[ItemT]) -> Part[ItemT]:
        """The window of a list inside an answer."""
        return Part(len(items), self.cut(items))

    def listing(self, scope: Scope, items: Sequence[ItemT]) -> Listing[ItemT]:
        """The window of a list that is the answer."""
        return Listing(
            scope.block, scope.position, len(items), self.limit, self.offset, self.cut(items)
        )


def arenas(heads: Iterable[LogHead]) -> Arenas:
    """All arenas of the database, in the order they were opened."""
    return Arenas([arena_line(head) for head in heads])


def status(scope: Scope) -> Status:
    """The arena in one look."""
    return status_of(scope)


def weights(scope: Scope) -> VectorView:
    """The vector in force at the scope's block, with the reason of each share."""
    return vector_view(scope)


def sent(scope: Scope, window: Window) -> Listing[SentVector]:
    """The vectors sent so far, oldest first."""
    return window.listing(scope, sent_vectors(scope))


def compared_weights(scope: Scope, window: Window) -> WeightsCompared:
    """The vector computed at the scope's block, beside what validators submitted and hold."""
    vector = vector_in_force(scope)
    return WeightsCompared(
        block=scope.block,
        position=scope.position,
        computed_digest=vector.digest,
        uids=vector.uids,
        values=vector.values,
        limit=window.limit,
        offset=window.offset,
        validators=window.part(compared(scope)),
    )


def explained_weights(scope: Scope) -> WeightsExplained:
    """Each UID's share of the vector at the scope's block, in words."""
    return WeightsExplained(
        block=scope.block,
        position=scope.position,
        policy=policy_in_force(scope).name,
        digest=vector_in_force(scope).digest,
        uids=explained(scope),
    )


def weights_status(scope: Scope) -> WeightsStatus:
    """How the arena stands for whoever sets weights."""
    return ask_weights_status(scope)


def emissions(scope: Scope, window: Window) -> Emissions:
    """The ramp at the scope's block, and the epochs up to it."""
    return Emissions(
        scope.block,
        scope.position,
        window.limit,
        window.offset,
        ramp_now(scope),
        window.part(epochs(scope)),
    )


def payouts(
    scope: Scope,
    window: Window,
    address: str,
    *,
    by: PayoutsBy = "epoch",
    within: tuple[int, int] | None = None,
) -> Payouts:
    """The statement of a hotkey or coldkey, by epoch or by period.

    ``within`` narrows it to the epochs after a block, up to and with another. Raises
    :class:`~ledger.queries.payouts.UnknownAccountError` for an address that is nowhere in
    the log: "earned nothing" and "mistyped" must not read alike; and
    :class:`~ledger.addresses.AddressFormError` for what is no address.
    """
    require_ss58(address)
    summed = totals(scope, address, within)
    if not summed.total:
        require_known(scope, address)
    lines: Sequence[PayoutLine] = ()
    periods: Sequence[PayoutPeriod] | None = None
    given = msgspec.structs.asdict(summed)
    if by == "period":
        found = by_period(scope, address, within)
        given["total"], periods = len(found), window.cut(found)
    else:
        upto = window.offset + window.limit
        page = payouts_page(scope, address=address, limit=upto, within=within)
        lines = window.cut(page.lines)
    return Payouts(
        address=address,
        block=scope.block,
        position=scope.position,
        **given,
        limit=window.limit,
        offset=window.offset,
        lines=lines,
        periods=periods,
    )


def submissions(scope: Scope, window: Window, hotkey: str | None) -> Listing[SubmissionLine]:
    """The commits so far and what became of them; of one hotkey, or of all.

    A hotkey that is no address or nowhere in the log raises as in :func:`payouts`.
    """
    if hotkey is not None:
        require_ss58(hotkey)
    found = ask_submissions.submissions(scope, hotkey)
    if hotkey is not None and not found:
        require_known(scope, hotkey)
    return window.listing(scope, shaped(SubmissionLine, found))


def every_commit(
    scope: Scope, hotkey: str | None, *, limit: int | None = None, offset: int = 0
) -> tuple[Sequence[CommitLine], int]:
    """Every commit ever seen in short, those still sealed too, and how many there are.

    Without a ``limit`` it is all of them after the first ``offset``. A hotkey that is no address or
    nowhere in the log raises as in :func:`payouts`.
    """
    if hotkey is not None:
        require_ss58(hotkey)
    found = ask_submissions.every_commit(scope, hotkey)
    if hotkey is not None and not found:
        require_known(scope, hotkey)
    lines = shaped(CommitLine, found)
    return lines[offset : None if limit is None else offset + limit], len(lines)


def sealed_commits(scope: Scope, hotkey: str | None) -> Sequence[SealedLine]:
    """The timelocked commitments that were not revealed so far."""
    return shaped(SealedLine, ask_submissions.sealed_commits(scope, hotkey))


def queue(scope: Scope, window: Window) -> Listing[SubmissionLine]:
    """The submissions that wait for a contest, in the order of judging."""
    found = ask_submissions.submissions(scope)
    waiting = [line for line in found if line["queue_place"] is not None]
    return window.listing(scope, shaped(SubmissionLine, waiting))


def reigns(scope: Scope, window: Window) -> Listing[ReignLine]:
    """The thrones' history."""
    return window.listing(scope, shaped(ReignLine, ask_reigns.reigns(scope)))


def contests(scope: Scope, window: Window) -> Listing[ContestLine]:
    """The attempts and their verdicts."""
    return window.listing(scope, shaped(ContestLine, ask_contests.contests(scope)))


def treasury(scope: Scope, window: Window) -> TreasuryAnswer:
    """Reconciled periods, the journal's balances, buybacks and rentals."""
    return TreasuryAnswer(
        block=scope.block,
        position=scope.position,
        limit=window.limit,
        offset=window.offset,
        lines=window.part(ask_treasury.treasury_lines(scope)),
        balances=window.part(shaped(AccountBalance, ask_treasury.account_balances(scope))),
        buybacks=window.part(shaped(BuybackLine, ask_treasury.buybacks(scope))),
        rentals=window.part(shaped(RentalLine, ask_rentals.rentals(scope))),
    )


def reconciled(
    scope: Scope,
    *,
    period: int | None = None,
    from_block: int | None = None,
    to_block: int | None = None,
) -> TreasuryReconciled:
    """A period, a stretch of blocks or the open period, account by account.

    Raises as :func:`ledger.queries.reconciling.reconciliation`.
    """
    found = ask_treasury.reconciliation(
        scope, period=period, from_block=from_block, to_block=to_block
    )
    return TreasuryReconciled(
        block=scope.block, position=scope.position, **msgspec.structs.asdict(found)
    )


def journal(scope: Scope, window: Window, asked: ask_treasury.Asked) -> Listing[JournalLine]:
    """The postings that are asked for, in the order of the log."""
    found, total = ask_treasury.journal(scope, asked, limit=window.limit, offset=window.offset)
    return Listing(
        scope.block,
        scope.position,
        total,
        window.limit,
        window.offset,
        shaped(JournalLine, found),
    )


def rentals(scope: Scope, window: Window) -> Listing[RentalLine]:
    """The rented machines, in the order in which they were asked for."""
    return window.listing(scope, shaped(RentalLine, ask_rentals.rentals(scope)))


def rental(scope: Scope, identity: UUID) -> RentalLine:
    """One rented machine; refused (``DecisionRefusedError``) where there is none of that id."""
    found = ask_rentals.rental_of(scope, identity)
    if found is None:
        msg = f"there is no rental {identity}; 'cacheon-ledger rentals' lists them"
        raise DecisionRefusedError(msg)
    return shaped(RentalLine, [found])[0]


def payments(scope: Scope, window: Window, *, unclaimed_only: bool) -> Listing[PaymentLine]:
    """The payments to the treasury, or those nobody claimed."""
    found = ask_payments.payments(scope, unclaimed_only=unclaimed_only)
    return window.listing(scope, shaped(PaymentLine, found))


def policy(scope: Scope) -> PolicyView:
    """The policy in force at the scope's block, and since when."""
    found = policy_in_force(scope)
    starts = [row["from_block"] for row in scope.rows(weights_view.policies)]
    return PolicyView(
        block=scope.block,
        from_block=max(start for start in starts if start <= scope.block),
        digest=found.digest(),
        policy=msgspec.json.decode(found.canonical_json(), type=dict[str, Any]),
    )


def claims(scope: Scope, window: Window, *, open_only: bool) -> Listing[PaymentLine]:
    """The payments that were claimed, or those whose claim is not decided yet."""
    found = ask_payments.claims(scope, open_only=open_only)
    return window.listing(scope, shaped(PaymentLine, found))
