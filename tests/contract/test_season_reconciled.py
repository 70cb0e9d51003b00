"""The recorded season's treasury against its books, block by block: as it was, and altered.

A season is altered in the world that the reader sees, or in what people book; never in the
reconciler. Every alteration is found to the exact rao, with its name and its block.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest

from api.app import Services, open_services
from api.settings import Settings
from chain.node import NodeChain
from chain.port import Block, Call, ChainEvent, Extrinsic
from chain.reader import BlockReader
from ledger.application import Unit
from ledger.books import accounts
from ledger.commands.arena import open_arena
from ledger.commands.money import record_balances
from ledger.decisions.treasury import Treasury
from ledger.keys import ArenaKey, treasury_id
from ledger.queries.treasury import BreakLine, TreasuryLine, reconciliation
from tests.cassette import needs_cassette, replay_server, truth
from tests.contract.test_season_in_the_ledger import OPENS_AT, season_policy

pytestmark = [needs_cassette, pytest.mark.cassette]

THIEF: Final = "5Dvm2DCmPyQoa5A9tNKy8ze9MtE259eMerV5W87XMK3s2bGo"
EXCHANGE: Final = "5DU1Si3ftq5pBXbFETqEYW93x4CrmUn1A8KWaYm4DZBgqPJ9"
THEFT: Final = "0x" + "7e" * 32
SALE: Final = "0x" + "5a" * 32
THEFT_BLOCK: Final = 26
STOLEN_RAO: Final = 123_456_789
SALE_BLOCK: Final = 40
SOLD_RAO: Final = 1_234_567_891
SILENT_BLOCK: Final = 44
VANISHED_RAO: Final = 17
MISSED: Final = "pay8"
"""A payment of block 33, in which two others come, too."""
SECOND_BOOKING: Final = "desk-4711"


@dataclass(frozen=True)
class World:
    """What happened besides the recording, and what of it reader or bookkeeper got wrong."""

    theft: bool = False
    """The treasury's address sent money away, and nobody books it."""
    silent: bool = False
    """Its balance falls without an event that would show it."""
    missed: bool = False
    """The reader does not see one payment."""
    sale: bool = False
    """It sent money to an exchange, which is booked as a conversion."""
    doubled: bool = False
    """That is booked a second time, under the desk's own number."""


ALTERED: Final = World(theft=True, silent=True, missed=True, sale=True, doubled=True)


class OtherWorld(NodeChain):
    """The recording's node, on a chain on which some more happened."""

    def __init__(self, url: str, world: World) -> None:
        super().__init__(url)
        self.world = world

    def block(self, number: int) -> Block:
        """The recorded block, and what the world has in it besides."""
        found, world = super().block(number), self.world
        if world.theft and number == THEFT_BLOCK:
            found = _with_transfer(found, THEFT, THIEF, STOLEN_RAO)
        if world.sale and number == SALE_BLOCK:
            found = _with_transfer(found, SALE, EXCHANGE, SOLD_RAO)
        if world.missed and number == missed()["block"]:
            index = missed()["extrinsic_index"]
            kept = tuple(
                event
                for event in found.events
                if (event.extrinsic_index, event.name) != (index, "Transfer")
            )
            found = replace(found, events=kept)
        return found

    def treasury_rao(self, number: int) -> int:
        """The finalized balance of the treasury's address: what this world's state says."""
        rao: int = dict(truth()["treasury_balance"]["by_block"])[number]
        rao -= STOLEN_RAO * (self.world.theft and number >= THEFT_BLOCK)
        rao -= SOLD_RAO * (self.world.sale and number >= SALE_BLOCK)
        rao -= VANISHED_RAO * (self.world.silent and number >= SILENT_BLOCK)
        return rao


def missed() -> dict[str, int]:
    """The payment that a forgetful reader misses."""
    (found,) = [one for one in truth()["payments"] if one["label"] == MISSED]
    return {**found, "rao": sum(one["amount"] for one in found["transfers"])}


def _with_transfer(block: Block, extrinsic: str, to: str, rao: int) -> Block:
    treasury, index = truth()["treasury"], len(block.extrinsics)
    call = Call("Balances", "transfer_keep_alive", {"dest": to, "value": rao})
    moved = {"from": treasury, "to": to, "amount": rao}
    return replace(
        block,
        extrinsics=(*block.extrinsics, Extrinsic(index, extrinsic, treasury, call, True)),
        events=(
            *block.events,
            ChainEvent(len(block.events), index, "Balances", "Transfer", moved),
        ),
    )


@contextmanager
def ledger_of(world: World, folder: Path) -> Iterator[Services]:
    """A ledger that has read that world, its balance at every block included."""
    said = truth()
    services = open_services(Settings(database_url=f"sqlite:///{folder / 'ledger.db'}"))
    ledger = open_arena(
        services.engine,
        ArenaKey(said["genesis_hash"], said["netuid"]),
        network="season",
        at_block=OPENS_AT,
        policy=season_policy(said["treasury"]),
        actor="test",
    )
    with replay_server() as url:
        chain = OtherWorld(url, world)
        try:
            reader = BlockReader(chain, ledger, {})
            reader.observe_opening()
            for number in range(OPENS_AT + 1, said["head"] + 1):
                reader.ingest(number)
                balance = ("TAO", said["treasury"], chain.treasury_rao(number), "chain")
                record_balances(ledger, (balance,), about_block=number)
                if world.sale and number == SALE_BLOCK + 2:
                    ledger.decide(lambda unit: _book_sale(unit, SALE))
                if world.doubled and number == SALE_BLOCK + 5:
                    ledger.decide(lambda unit: _book_sale(unit, SECOND_BOOKING))
        finally:
            chain.close()
    services.refresh()
    yield services
    services.close()


def _book_sale(unit: Unit, reference: str) -> None:
    unit.get(Treasury, treasury_id(unit.context.arena)).convert(
        unit.context,
        reference=reference,
        sold_rao=SOLD_RAO,
        bought_usd_micros=370_370_367,
        usd_micros_per_tao=300_000_000,
        provider="pods",
        source="exchange",
        about_block=SALE_BLOCK,
        actor="ann",
    )


def tao(
    services: Services, from_block: int, to_block: int, known_at: int | None = None
) -> TreasuryLine:
    """The treasury's TAO in a stretch."""
    with services.at("season", truth()["netuid"], known_at) as scope:
        found = reconciliation(scope, from_block=from_block, to_block=to_block)
    (line,) = [
        line
        for line in found.accounts
        if (line.account, line.asset) == (accounts.TREASURY, accounts.TAO)
    ]
    return line


def told(found: BreakLine) -> tuple[str, str, int, int, int]:
    return found.kind, found.reference, found.amount, found.from_block, found.to_block


STOLEN: Final = ("on_chain_not_in_books", THEFT, -STOLEN_RAO, THEFT_BLOCK - 1, THEFT_BLOCK)
VANISHED: Final = ("unexplained", "", -VANISHED_RAO, SILENT_BLOCK - 1, SILENT_BLOCK)
DOUBLED: Final = (
    "in_books_not_on_chain",
    SECOND_BOOKING,
    SOLD_RAO,
    SALE_BLOCK - 1,
    SALE_BLOCK,
)


def missing() -> tuple[str, str, int, int, int]:
    block = missed()["block"]
    return ("unexplained", "", missed()["rao"], block - 1, block)


@pytest.mark.parametrize("world", [World(), World(sale=True)], ids=["as recorded", "with a sale"])
def test_the_season_reconciles_to_nothing_at_every_block(world: World, tmp_path: Path) -> None:
    by_block = dict(truth()["treasury_balance"]["by_block"])
    head = truth()["head"]
    with ledger_of(world, tmp_path) as services:
        for block in range(OPENS_AT + 1, head + 1):
            for since in (OPENS_AT, block - 1):
                line = tao(services, since, block)
                assert (line.residual, line.unexplained, line.breaks) == (0, 0, ()), block
                sold = SOLD_RAO * (world.sale and block >= SALE_BLOCK)
                assert line.closing == by_block[block] - sold
                assert line.light == "green"
        line = tao(services, OPENS_AT, head)
        came = sum(
            one["amount"]
            for payment in truth()["payments"]
            for one in payment["transfers"]
            if one["to"] == truth()["treasury"] and payment["block"] > OPENS_AT
        )
        assert (line.inflows, line.outflows) == (came, SOLD_RAO * world.sale)


SEEDED: Final = {
    "theft": (World(theft=True), [STOLEN], "yellow"),
    "silent theft": (World(silent=True), [VANISHED], "red"),
    "missing fact": (World(missed=True), None, "red"),
    "doubled fact": (World(sale=True, doubled=True), [DOUBLED], "yellow"),
}


@pytest.mark.parametrize("what", SEEDED)
def test_one_seeded_error_is_found_to_the_rao_with_its_name_and_block(
    what: str, tmp_path: Path
) -> None:
    world, found, light = SEEDED[what]
    expected = [missing()] if found is None else found
    with ledger_of(world, tmp_path) as services:
        line = tao(services, OPENS_AT, truth()["head"])
        assert [told(one) for one in line.breaks] == expected
        assert line.residual == expected[0][2]
        assert line.light == light
        _only_there(services, expected)


def test_all_of_them_at_once_are_told_apart(tmp_path: Path) -> None:
    expected = sorted([STOLEN, VANISHED, missing(), DOUBLED], key=lambda one: one[4])
    with ledger_of(ALTERED, tmp_path) as services:
        line = tao(services, OPENS_AT, truth()["head"])
        assert [told(one) for one in line.breaks] == expected
        assert line.residual == sum(amount for _, _, amount, _, _ in expected)
        assert line.unexplained == missed()["rao"] - VANISHED_RAO
        (doubled,) = [one for one in line.breaks if one.reference == SECOND_BOOKING]
        assert SALE in doubled.detail
        assert doubled.facts[0].endswith(SECOND_BOOKING)
        _only_there(services, expected)
        # Before anybody booked the sale it was as unbooked as the theft.
        then = tao(services, OPENS_AT, SALE_BLOCK, SALE_BLOCK)
        kinds = {one.reference: one.kind for one in then.breaks}
        assert kinds[SALE] == kinds[THEFT] == "on_chain_not_in_books"


def _only_there(services: Services, expected: list[tuple[str, str, int, int, int]]) -> None:
    """Each block has its own errors' residual, and every other one none."""
    for block in range(OPENS_AT + 1, truth()["head"] + 1):
        line = tao(services, block - 1, block)
        own = [one for one in expected if one[4] == block]
        assert line.residual == sum(amount for _, _, amount, _, _ in own), block
        assert [told(one) for one in line.breaks] == own, block
