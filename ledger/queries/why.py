"""Why: from a fact back to what began it, and from a payout back to the extrinsic of its own fee.

Every fact names the one it followed from (``causation``); causes always lie earlier in the log, so
that a walk along them ends. An epoch is only observed and names nothing but its block: a payout is
linked to the vector it was paid by through the block that vector was computed for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar

from sqlalchemy import select

from ledger.decisions.arena import KingCrowned, RunnerUpNamed
from ledger.decisions.contest import ContestPlanned
from ledger.decisions.payment import PaymentSeen
from ledger.decisions.submission import CommitSeen, SubmissionAccepted
from ledger.facts import Fact
from ledger.observations import WeightsReceipt, WeightsSubmitted
from ledger.projections import payouts as view
from ledger.projections.tables import rows_at
from ledger.queries.payouts import hotkey_accounts
from ledger.queries.scope import Scope
from ledger.queries.weights import vector_in_force
from ledger.rules.weights import ShareReason
from ledger.store.codec import decode, read_as
from ledger.store.logs import LoggedFact, position_at
from ledger.store.schema import events

_RUNNERS_UP: Final = frozenset({ShareReason.RUNNER_UP, ShareReason.SUCCESSOR})

FactT = TypeVar("FactT", bound=Fact)


class UnknownFactError(LookupError):
    """No fact of that key is in the log, as far as it is read."""


class UnknownPayoutError(LookupError):
    """No payout of that hotkey in that epoch is in the log, as far as it is read."""


class BrokenChainError(Exception):
    """A fact names a cause, or rests on a fact, that does not stand before it in its log."""


def why(scope: Scope, fact_key: str) -> list[Fact]:
    """The fact of that key, its cause, the cause of that, and so on back to the first fact.

    Raises :class:`UnknownFactError`, and :class:`BrokenChainError` where a cause is missing or not
    earlier than what followed from it.
    """
    found = _known(scope, fact_key, scope.position)
    if found is None:
        msg = f"no fact '{fact_key}' is in the log up to block {scope.block}; check the key"
        raise UnknownFactError(msg)
    return _walk(scope, found)


def payout_path(scope: Scope, hotkey: str, epoch_block: int) -> list[Fact]:
    """Why a hotkey was entitled to its share in the epoch of that block, newest fact first.

    The vector in force (``seen.weights_submitted.v2``), then for each seat the share came from, by
    track: how the hotkey came to it (``arena.king_crowned.v1`` or ``arena.runner_up_named.v1``),
    the verdict of the contest that measured it for that and what led there, back to its plan; and
    of the plan's entrants the hotkey's own submission: accepted, its payment consumed, its commit,
    and ``payment.seen.v1`` with the extrinsic. Empty without a vector, only the vector without a
    share. Raises :class:`UnknownPayoutError`, and :class:`BrokenChainError`.
    """
    table = view.payouts
    query = rows_at(table, scope.head.log_id, scope.position).where(
        table.c.account.in_(hotkey_accounts(scope, hotkey)), table.c.epoch_block == epoch_block
    )
    row = scope.connection.execute(query).mappings().first()
    if row is None:
        msg = f"{hotkey} has no payout in the epoch of block {epoch_block}; see its statement"
        raise UnknownPayoutError(msg)
    if row["vector_block"] is None:
        return []
    sent = _landed(scope, row["vector_block"], epoch_block)
    path = [sent.fact]
    if row["share_ppm"]:
        for seat in _seats(scope, sent, row["vector_block"], hotkey):
            path += _seat_path(scope, seat)
    return path


# -- the vector -----------------------------------------------------------------------------


def _landed(scope: Scope, vector_block: int, epoch_block: int) -> LoggedFact:
    """The submission of the vector for a block: of several validators' the one that landed last."""

    def landed(fact: WeightsReceipt) -> bool:
        if fact.for_block != vector_block or not fact.success or fact.block is None:
            return False
        return fact.block < epoch_block

    receipt = _newest(scope, WeightsReceipt, scope.position, landed)
    if receipt is not None:
        sent = _known(scope, receipt.sent_key, scope.position)
        if sent is not None and isinstance(sent.fact, WeightsSubmitted):
            return sent
    msg = f"the vector for block {vector_block} is not in the log up to block {scope.block}"
    raise BrokenChainError(msg)


def _seats(
    scope: Scope, sent: LoggedFact, vector_block: int, hotkey: str
) -> list[KingCrowned | RunnerUpNamed]:
    """How the hotkey came to what the vector pays it for, as the log stood when it was sent."""
    log_id = scope.head.log_id
    position = min(sent.position - 1, position_at(scope.connection, log_id, vector_block))
    then = replace(scope, block=vector_block, position=position)
    seats: list[KingCrowned | RunnerUpNamed] = []
    for share in vector_in_force(then).explained:
        if share.hotkey != hotkey or share.track is None:
            continue
        kind: type[KingCrowned | RunnerUpNamed]
        if share.reason is ShareReason.KING:
            kind = KingCrowned
        elif share.reason in _RUNNERS_UP:
            kind = RunnerUpNamed
        else:
            continue  # a burned part is nobody's
        seats.append(_seat(then, kind, share.track, hotkey))
    return seats


def _seat(
    scope: Scope, kind: type[KingCrowned | RunnerUpNamed], track: str, hotkey: str
) -> KingCrowned | RunnerUpNamed:
    found = _newest(
        scope, kind, scope.position, lambda fact: fact.track == track and fact.hotkey == hotkey
    )
    if found is None:
        msg = f"no '{kind.topic}' of {hotkey} on track '{track}' up to block {scope.block}"
        raise BrokenChainError(msg)
    return found


# -- from a seat to the extrinsic -------------------------------------------------------------


def _seat_path(scope: Scope, seat: KingCrowned | RunnerUpNamed) -> list[Fact]:
    path: list[Fact] = [seat]
    for fact in _walk(scope, _must(scope, f"contest-judged:{seat.contest_id}", seat)):
        path.append(fact)
        if isinstance(fact, ContestPlanned):
            break  # what follows is the first challenger's path, and this seat has its own
    for fact in _walk(scope, _must(scope, f"accepted:{seat.submission_id}", seat)):
        path.append(fact)
        if isinstance(fact, CommitSeen):
            break  # the commit follows from its block, and names the payment
    return [*path, _payment(scope, path)]


def _payment(scope: Scope, path: list[Fact]) -> PaymentSeen:
    accepted = next(fact for fact in reversed(path) if isinstance(fact, SubmissionAccepted))
    query = (
        select(events.c.topic, events.c.state)
        .where(
            events.c.log_id == scope.head.log_id,
            events.c.position <= scope.position,
            events.c.originator_id == accepted.payment_id,
        )
        .order_by(events.c.originator_version)
        .limit(1)
    )
    row = scope.connection.execute(query).first()
    seen = decode(row[0], bytes(row[1])) if row else None
    if not isinstance(seen, PaymentSeen):
        msg = f"payment {accepted.payment_id} of '{accepted.fact_key}' is not in the log"
        raise BrokenChainError(msg)
    return seen


# -- reading --------------------------------------------------------------------------------


def _walk(scope: Scope, found: LoggedFact) -> list[Fact]:
    """Along the causes. Each must be earlier than the one before, so this ends whatever is read."""
    chain = [found.fact]
    while found.fact.causation is not None:
        key = found.fact.causation
        cause = _known(scope, key, found.position - 1)
        if cause is None:
            msg = f"'{found.fact.fact_key}' names the cause '{key}', which does not stand before it"
            raise BrokenChainError(msg)
        found = cause
        chain.append(found.fact)
    return chain


def _must(scope: Scope, fact_key: str, needed_by: Fact) -> LoggedFact:
    found = _known(scope, fact_key, scope.position)
    if found is None:
        msg = f"'{needed_by.fact_key}' rests on '{fact_key}', which is not in the log"
        raise BrokenChainError(msg)
    return found


def _known(scope: Scope, fact_key: str, up_to: int) -> LoggedFact | None:
    """The fact of a key in this arena's log, up to a position."""
    query = select(events.c.position, events.c.topic, events.c.state).where(
        events.c.fact_key == fact_key,
        events.c.log_id == scope.head.log_id,
        events.c.position <= up_to,
    )
    row = scope.connection.execute(query).first()
    return LoggedFact(row[0], decode(row[1], bytes(row[2]))) if row else None


def _newest(
    scope: Scope, kind: type[FactT], up_to: int, where: Callable[[FactT], bool]
) -> FactT | None:
    """The last fact of a type that ``where`` accepts, up to a position."""
    query = (
        select(events.c.topic, events.c.state)
        .where(
            events.c.log_id == scope.head.log_id,
            events.c.position <= up_to,
            events.c.topic.in_(read_as(kind.topic)),
        )
        .order_by(events.c.position.desc())
    )
    for topic, state in scope.connection.execute(query):
        fact = decode(topic, bytes(state))
        if isinstance(fact, kind) and where(fact):
            return fact
    return None
