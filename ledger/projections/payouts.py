"""The `payouts` view: per epoch and hotkey, what the vector entitled it to and what it was paid.

DOMAIN 5: ``entitled`` = floor(share in the last vector in force before the epoch x the epoch's
total miner incentive, burned part included); ``paid`` = the epoch's incentive of the hotkey, to its
coldkey at that block; the burn UID's part is ``withheld``, never paid; dividends are their own
column. Alpha in 10^-9. Hotkeys with nothing in any column have no row.
"""

from __future__ import annotations

from typing import Final

import msgspec
from sqlalchemy import BigInteger, Column, Integer, Text

from ledger.decisions.arena import ArenaOpened, PolicyAdopted
from ledger.facts import Fact
from ledger.observations import EpochObserved, WeightsReceipt, WeightsSubmitted
from ledger.projections.arena_view import POLICY_FACTS, fold_policy, kept_policy, view_table
from ledger.projections.rows import Rows, storable_text
from ledger.projections.tables import appended, versioned
from ledger.units import PPM

state: Final = view_table("payouts_state")

addresses: Final = versioned(
    "payouts_addresses",
    [Column("address", Text, primary_key=True)],
    [Column("number", Integer, nullable=False)],
    indexed=(("number",),),
)
"""Every hotkey and coldkey that ever had a payout, numbered as they came: an epoch has hundreds of
rows, and twenty epochs a day repeat the same long addresses."""

owners: Final = versioned(
    "payouts_owners",
    [
        Column("coldkey", Integer, primary_key=True, autoincrement=False),
        Column("hotkey", Integer, primary_key=True, autoincrement=False),
    ],
    [],
)
"""Which hotkeys ever had a payout to a coldkey: its payouts are found among theirs."""

payouts: Final = appended(
    "payouts",
    Column("epoch_block", BigInteger, nullable=False),
    Column("uid", Integer),  # None: entitled, but its UID belongs to another hotkey by now
    Column("hotkey", Integer, nullable=False),  # both by their number in `payouts_addresses`
    Column("coldkey", Integer),
    Column("vector_block", BigInteger),
    Column("share_ppm", Integer, nullable=False),
    Column("entitled_alpha", BigInteger, nullable=False),
    Column("paid_alpha", BigInteger, nullable=False),
    Column("withheld_alpha", BigInteger, nullable=False),
    Column("dividends_alpha", BigInteger, nullable=False),
    indexed=(("hotkey", "position"),),
)


class _Vector(msgspec.Struct):
    for_block: int
    digest: str
    shares_ppm: dict[str, int]
    burn_uid: int
    landed_block: int | None = None
    number: int = 0
    """Which of the landed vectors it is, counted from 1; 0 in rows of an older program."""


class PayoutsProjection:
    """Folds vectors and epochs into payouts."""

    name = "payouts"
    tables = (state, addresses, owners, payouts)
    knows: tuple[type[Fact], ...] = (*POLICY_FACTS, EpochObserved, WeightsReceipt, WeightsSubmitted)

    def fold(self, rows: Rows, position: int, fact: Fact) -> None:
        """Change the rows by one fact."""
        match fact:
            case ArenaOpened() | PolicyAdopted():
                fold_policy(rows, state, position, fact)
            case WeightsSubmitted():
                # The burn UID entitles nobody, whoever holds it then or later.
                burn_uid = kept_policy(rows, state, fact.for_block).weights.burn_uid
                shares: dict[str, int] = {}
                columns = zip(fact.uids, fact.hotkeys, fact.shares_ppm, strict=True)
                for uid, hotkey, ppm in columns:
                    if uid != burn_uid:
                        shares[hotkey] = shares.get(hotkey, 0) + ppm
                key = _sent_key(fact)
                vector = _Vector(fact.for_block, fact.digest, shares, burn_uid)
                # Its fact key says that a validator sends a vector for a block once.
                rows.put_new(state, position, key, value=_text(vector))
            case WeightsReceipt():
                key = _sent_key(fact)
                sent = _kept(rows, key)
                rows.end(state, position, key)
                if sent is not None and fact.success and fact.block is not None:
                    _land(rows, position, sent, fact.block)
            case EpochObserved():
                burn_uid = kept_policy(rows, state, fact.block).weights.burn_uid
                _pay(rows, position, fact, burn_uid)
            case _:
                pass  # not a fact of this view


def _sent_key(fact: WeightsSubmitted | WeightsReceipt) -> str:
    return f"sent:{fact.validator_hotkey}:{fact.for_block}:{fact.digest}"


def _pay(rows: Rows, position: int, epoch: EpochObserved, burn_uid: int) -> None:
    vector = _in_force(rows, epoch.block)
    vector_block = vector.for_block if vector else None
    shares = dict(vector.shares_ppm) if vector else {}
    total = sum(epoch.incentive_alpha)
    # Weight on the old burn UID burns until a vector on the new one is in force.
    burn_uids = {burn_uid} | ({vector.burn_uid} if vector else set())
    numbers: dict[str, int] = rows.memo.setdefault("numbers", {})
    known: set[tuple[int, int]] = rows.memo.setdefault("owners", set())
    paid: list[tuple[int | None, ...]] = []
    columns = zip(
        epoch.uids,
        epoch.hotkeys,
        epoch.coldkeys,
        epoch.incentive_alpha,
        epoch.dividends_alpha,
        strict=True,
    )
    # Values in the order of the table's columns: an epoch has hundreds of rows.
    for uid, hotkey, coldkey, incentive, dividends in columns:
        share = shares.pop(hotkey, 0)
        if not (share or incentive or dividends):
            continue
        owner = numbers.get(hotkey) or _number(rows, position, hotkey)
        payee = numbers.get(coldkey) or _number(rows, position, coldkey)
        if (payee, owner) not in known:
            _own(rows, position, payee, owner)
        mine = (epoch.block, uid, owner, payee, vector_block, share)
        if uid in burn_uids:
            paid.append((*mine, 0, 0, incentive, dividends))
        else:
            paid.append((*mine, share * total // PPM, incentive, 0, dividends))
    for hotkey, share in sorted(shares.items()):
        departed = (epoch.block, None, _number(rows, position, hotkey), None, vector_block, share)
        paid.append((*departed, share * total // PPM, 0, 0, 0))
    rows.extend(payouts, position, paid)


def _own(rows: Rows, position: int, coldkey: int, hotkey: int) -> None:
    """Remember that the coldkey was paid for the hotkey."""
    if rows.get(owners, coldkey, hotkey) is None:
        rows.put_new(owners, position, coldkey, hotkey)
    rows.memo["owners"].add((coldkey, hotkey))


def _number(rows: Rows, position: int, address: str) -> int:
    """The number of an address, which gets the next one where it is new."""
    address = storable_text(address)
    found = rows.get(addresses, address)
    if found is None:
        counted = rows.get(state, "addresses")
        number = 1 + (int(counted["value"]) if counted else 0)
        rows.put(state, position, "addresses", value=str(number))
        rows.put_new(addresses, position, address, number=number)
    else:
        number = int(found["number"])
    rows.memo["numbers"][address] = number
    return number


def _land(rows: Rows, position: int, vector: _Vector, block: int) -> None:
    """Keep the landed vectors: an epoch may be recorded after later ones landed, and a receipt
    after the next epoch was."""
    before = _kept(rows, "landed")
    number = 1 + (before.number if before else 0)
    if before is not None:
        _keep(rows, position, f"landed:{before.number}", before)
    landed = msgspec.structs.replace(vector, landed_block=block, number=number)
    _keep(rows, position, "landed", landed)


def _in_force(rows: Rows, epoch_block: int) -> _Vector | None:
    """The last vector that the chain held before an epoch's block."""
    vector = _kept(rows, "landed")
    while vector is not None and (vector.landed_block or 0) >= epoch_block:
        vector = _kept(rows, f"landed:{vector.number - 1}")
    return vector


def _keep(rows: Rows, position: int, key: str, vector: _Vector) -> None:
    rows.put(state, position, key, value=_text(vector))


def _text(vector: _Vector) -> str:
    return msgspec.json.encode(vector, order="deterministic").decode()


def _kept(rows: Rows, key: str) -> _Vector | None:
    found = rows.get(state, key)
    return msgspec.json.decode(found["value"], type=_Vector) if found else None
