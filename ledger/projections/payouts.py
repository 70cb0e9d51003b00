"""The `payouts` view: per epoch and hotkey, what the vector entitled it to and what it was paid.

DOMAIN 5: ``entitled`` = floor(share in the last vector in force before the epoch x the epoch's
total miner incentive, burned part included); ``paid`` = the epoch's incentive of the hotkey, to its
coldkey at that block; the burn UID's part is ``withheld``, never paid; dividends are their own
column. Alpha in 10^-9. Hotkeys with nothing in any column have no row. What was paid to another
hotkey than the vector meant is told on both their rows (:mod:`ledger.rules.payouts`).
"""

from __future__ import annotations

from typing import Final

import msgspec
from sqlalchemy import BigInteger, Boolean, Column, Integer, Text

from ledger.decisions.arena import ArenaOpened, PolicyAdopted
from ledger.decisions.treasury import PeriodClosed
from ledger.facts import Fact
from ledger.observations import (
    BlockFilled,
    EpochObserved,
    NeuronObserved,
    OwnerChanged,
    PriceObserved,
    SubnetOwnerObserved,
    WeightsReceipt,
    WeightsSubmitted,
)
from ledger.projections.arena_view import POLICY_FACTS, fold_policy, kept_policy, view_table
from ledger.projections.payout_ends import end_sums, ends, note_ends, sum_ends
from ledger.projections.payout_owners import (
    burns_at,
    coldkey_at,
    note_coldkey,
    note_filled,
    note_subnet_owner,
    owners,
)
from ledger.projections.payout_sums import Running
from ledger.projections.rows import Rows, storable_text
from ledger.projections.tables import appended, versioned
from ledger.rules.payouts import Named, Paid, settle

PRICE_PAIR: Final = "ALPHA/TAO"
PRICE_SOURCE: Final = "chain"
"""The prices that value what was paid: the pool's own, not an exchange's."""

state: Final = view_table("payouts_state")

accounts: Final = versioned(
    "payouts_accounts",
    [Column("hotkey", Text, primary_key=True), Column("coldkey", Text, primary_key=True)],
    [Column("number", Integer, nullable=False)],
    indexed=(("number",), ("coldkey",)),
)
"""Every hotkey with a coldkey it had, numbered as they came: an epoch has hundreds of rows, and
twenty epochs a day repeat the same long addresses. An unknown coldkey is the empty text."""

epochs: Final = versioned(
    "payouts_epochs",
    [Column("epoch_block", BigInteger, primary_key=True, autoincrement=False)],
    [
        Column("late", Boolean, nullable=False),  # read out of a gap, later than its block
        Column("withheld_alpha", BigInteger, nullable=False),  # what the chain burned
        Column("price_rao", BigInteger),  # a whole alpha in rao, None: no price known
        Column("price_block", BigInteger),
    ],
    indexed=(("late", "epoch_block"),),
)
"""The price that values an epoch: the newest about a block at or before its own that was recorded
before the next epoch. That of a late one is looked up when it is asked for."""

payouts: Final = appended(
    "payouts",
    Column("epoch_block", BigInteger, nullable=False),
    Column("uid", Integer),  # None: entitled, but without a UID in that epoch
    Column("account", Integer, nullable=False),  # by its number in `payouts_accounts`
    Column("vector_block", BigInteger),
    Column("share_ppm", Integer, nullable=False),
    Column("entitled_alpha", BigInteger, nullable=False),
    Column("paid_alpha", BigInteger, nullable=False),
    Column("withheld_alpha", BigInteger, nullable=False),
    Column("dividends_alpha", BigInteger, nullable=False),
    Column("misdirected_alpha", BigInteger, nullable=False),
    Column("meant_for", Integer),  # an account, as is `lost_to`
    Column("lost_alpha", BigInteger, nullable=False),
    Column("lost_to", Integer),
    Column("sums", Text),  # of what came before, now and then (see payout_sums)
    indexed=(("account", "position"),),
)


class _Vector(msgspec.Struct):
    for_block: int
    digest: str
    shares: list[tuple[int, str, int]]
    """UID, whom it means there, and the share in ppm; without the burn UID."""
    burn_uid: int
    landed_block: int | None = None
    number: int = 0
    """Which of the landed vectors it is, counted from 1 by the blocks they landed in."""


class _Price(msgspec.Struct):
    """The newest price, and the newest epoch while it may still get another one."""

    about_block: int | None = None
    price_rao: int | None = None
    open_epoch: int | None = None


class PayoutsProjection:
    """Folds vectors and epochs into payouts."""

    name = "payouts"
    tables = (state, accounts, epochs, owners, payouts, ends, end_sums)
    knows: tuple[type[Fact], ...] = (
        *POLICY_FACTS,
        BlockFilled,
        EpochObserved,
        NeuronObserved,
        OwnerChanged,
        PeriodClosed,
        PriceObserved,
        SubnetOwnerObserved,
        WeightsReceipt,
        WeightsSubmitted,
    )

    def fold(self, rows: Rows, position: int, fact: Fact) -> None:
        """Change the rows by one fact."""
        match fact:
            case ArenaOpened() | PolicyAdopted():
                fold_policy(rows, state, position, fact)
            case NeuronObserved():
                note_coldkey(rows, position, fact.hotkey, fact.block, fact.coldkey)
            case OwnerChanged():
                note_coldkey(rows, position, fact.hotkey, fact.block, fact.new_coldkey)
            case BlockFilled():
                note_filled(rows, state, position, fact)
            case SubnetOwnerObserved():
                note_subnet_owner(rows, state, position, fact.block, (fact.hotkey, fact.coldkey))
            case PriceObserved():
                _price(rows, position, fact)
            case WeightsSubmitted():
                _send(rows, position, fact)
            case WeightsReceipt():
                key = _sent_key(fact)
                sent = _kept(rows, key)
                rows.end(state, position, key)
                if sent is not None and fact.success and fact.block is not None:
                    _land(rows, position, sent, fact.block)
            case PeriodClosed():
                note_ends(rows, state, position, fact)
            case EpochObserved():
                _pay(rows, position, fact)
            case _:
                pass  # not a fact of this view


def _send(rows: Rows, position: int, fact: WeightsSubmitted) -> None:
    # The burn UID entitles nobody, whoever holds it then or later.
    burn_uid = kept_policy(rows, state, fact.for_block).weights.burn_uid
    columns = zip(fact.uids, fact.hotkeys, fact.shares_ppm, strict=True)
    shares = [(uid, hotkey, ppm) for uid, hotkey, ppm in columns if uid != burn_uid and ppm]
    vector = _Vector(fact.for_block, fact.digest, shares, burn_uid)
    # Its fact key says that a validator sends a vector for a block once.
    rows.put_new(state, position, _sent_key(fact), value=_text(vector))


def _sent_key(fact: WeightsSubmitted | WeightsReceipt) -> str:
    return f"sent:{fact.validator_hotkey}:{fact.for_block}:{fact.digest}"


def _pay(rows: Rows, position: int, epoch: EpochObserved) -> None:
    late = epoch.block < epoch.effective_block
    running = Running(rows, epochs, payouts, epoch.block)
    if not late:
        sum_ends(rows, state, running, position)
    vector = _in_force(rows, epoch.block)
    columns = zip(
        epoch.uids,
        epoch.hotkeys,
        epoch.coldkeys,
        epoch.incentive_alpha,
        epoch.dividends_alpha,
        strict=True,
    )
    paid = [Paid(*row) for row in columns]
    settled = settle(
        paid,
        {uid: Named(hotkey, ppm) for uid, hotkey, ppm in vector.shares} if vector else {},
        burn_uid=vector.burn_uid if vector else None,
        burned=_burned(rows, epoch.block, vector, paid),
    )
    withheld = sum(line.withheld_alpha for line in settled)
    _open_epoch(rows, position, epoch.block, late=late, withheld_alpha=withheld)
    vector_block = vector.for_block if vector else None
    numbers: dict[tuple[str, str], int] = rows.memo.setdefault("numbers", {})
    # Their coldkey then, for those who hold a UID no longer or are only named.
    held = {row.hotkey: row.coldkey for row in paid}

    def account(hotkey: str, coldkey: str | None = None) -> int:
        key = (hotkey, coldkey or held.get(hotkey) or coldkey_at(rows, hotkey, epoch.block) or "")
        return numbers.get(key) or _number(rows, position, key)

    # Values in the order of the table's columns: an epoch has hundreds of rows.
    lines: list[tuple[int | str | None, ...]] = []
    for line in settled:
        own = account(line.hotkey, line.coldkey)
        meant_for = None if line.meant_for is None else account(line.meant_for)
        lost_to = None if line.lost_to is None else account(line.lost_to)
        stray, lost = line.misdirected_alpha, line.lost_alpha
        sums = None if late else running.before(own, line)
        told = (stray, meant_for, lost, lost_to, sums)
        lines.append((epoch.block, line.uid, own, vector_block, line.share_ppm, *line[4:8], *told))
    rows.extend(payouts, position, lines)


def _burned(rows: Rows, block: int, vector: _Vector | None, paid: list[Paid]) -> set[int]:
    """The UIDs whose incentive the chain burned: the burn UID, where the subnet's owner holds it.

    Weight on the old burn UID burns until a vector on the new one is in force.
    """
    burn_uids = {kept_policy(rows, state, block).weights.burn_uid}
    burn_uids |= {vector.burn_uid} if vector else set()
    return {
        row.uid
        for row in paid
        if row.uid in burn_uids and burns_at(rows, state, block, (row.hotkey, row.coldkey))
    }


def _number(rows: Rows, position: int, account: tuple[str, str]) -> int:
    """The number of an account, which gets the next one where it is new."""
    hotkey, coldkey = map(storable_text, account)
    found = rows.get(accounts, hotkey, coldkey)
    if found is None:
        counted = rows.get(state, "accounts")
        number = 1 + (int(counted["value"]) if counted else 0)
        rows.put(state, position, "accounts", value=str(number))
        rows.put_new(accounts, position, hotkey, coldkey, number=number)
        Running.begin(rows, number)
    else:
        number = int(found["number"])
    rows.memo["numbers"][account] = number
    return number


# -- prices -----------------------------------------------------------------------------------


def _newest_price(rows: Rows) -> _Price:
    found = rows.get(state, "price")
    return msgspec.json.decode(found["value"], type=_Price) if found else _Price()


def _price(rows: Rows, position: int, fact: PriceObserved) -> None:
    if fact.pair != PRICE_PAIR or fact.source != PRICE_SOURCE:
        return
    newest = _newest_price(rows)
    if newest.about_block is not None and fact.about_block < newest.about_block:
        return
    newest.about_block, newest.price_rao = fact.about_block, fact.price
    # The pool's price in the state of an epoch's block is recorded after the epoch.
    block = newest.open_epoch
    if block is not None and fact.about_block <= block:
        price = {"price_rao": fact.price, "price_block": fact.about_block}
        rows.put(epochs, position, block, **price)
    _keep_price(rows, position, newest)


def _open_epoch(rows: Rows, position: int, block: int, *, late: bool, withheld_alpha: int) -> None:
    newest = _newest_price(rows)
    known = not late and newest.about_block is not None and newest.about_block <= block
    rows.put_new(
        epochs,
        position,
        block,
        late=late,
        withheld_alpha=withheld_alpha,
        price_rao=newest.price_rao if known else None,
        price_block=newest.about_block if known else None,
    )
    if not late:
        newest.open_epoch = block
        _keep_price(rows, position, newest)


def _keep_price(rows: Rows, position: int, price: _Price) -> None:
    rows.put(state, position, "price", value=_text(price))


# -- vectors ----------------------------------------------------------------------------------


def _land(rows: Rows, position: int, vector: _Vector, block: int) -> None:
    """Keep the landed vectors by the block they landed in.

    An epoch may be recorded after later ones landed, and a receipt after a later one's, or after
    the next epoch was.
    """
    newest = _kept(rows, "landed")
    landed = msgspec.structs.replace(
        vector, landed_block=block, number=1 + (newest.number if newest else 0)
    )
    if newest is None:
        _keep(rows, position, "landed", landed)
        return
    if _order(newest) <= _order(landed):
        _keep(rows, position, f"landed:{newest.number}", newest)
        _keep(rows, position, "landed", landed)
        return
    # It goes below those that landed later, each of which moves up by one.
    below = landed.number
    older: _Vector | None = newest
    while older is not None and _order(older) > _order(landed):
        moved = msgspec.structs.replace(older, number=below)
        _keep(rows, position, "landed" if older is newest else f"landed:{below}", moved)
        below -= 1
        older = _kept(rows, f"landed:{below - 1}") if below > 1 else None
    own = msgspec.structs.replace(landed, number=below)
    _keep(rows, position, f"landed:{below}", own)


def _order(vector: _Vector) -> tuple[int, int]:
    return (vector.landed_block or 0, vector.for_block)


def _in_force(rows: Rows, epoch_block: int) -> _Vector | None:
    """The last vector that the chain held before an epoch's block, whichever validator sent it."""
    vector = _kept(rows, "landed")
    while vector is not None and (vector.landed_block or 0) >= epoch_block:
        vector = _kept(rows, f"landed:{vector.number - 1}")
    return vector


def _keep(rows: Rows, position: int, key: str, vector: _Vector) -> None:
    rows.put(state, position, key, value=_text(vector))


def _text(value: _Vector | _Price) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()


def _kept(rows: Rows, key: str) -> _Vector | None:
    found = rows.get(state, key)
    return msgspec.json.decode(found["value"], type=_Vector) if found else None
