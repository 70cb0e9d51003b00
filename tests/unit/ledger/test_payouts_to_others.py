"""What the chain paid to another than the vector meant is shown as such, on both their rows."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.application import Unit
from ledger.commands.block_facts import EpochPaid, NeuronChange, OwnerChange
from ledger.observations import EpochObserved, PriceObserved, WeightsReceipt, WeightsSubmitted
from ledger.queries.emissions import epochs
from ledger.queries.payout_sums import by_period, totals
from ledger.queries.payouts import PayoutLine, payouts_page
from tests.unit.ledger.scenes import ARENA, Scene, block_hash

Vector = dict[int, tuple[str, int]]
"""Hotkey and share in ppm by UID."""


def submit(scene: Scene, vector: Vector, validator: str = "V", digest: str = "sha256:0") -> int:
    """A vector is sent for the newest block; which that is."""
    head = scene.head

    def work(unit: Unit) -> None:
        unit.observe(
            WeightsSubmitted,
            f"weights-sent:{unit.context.arena}:{validator}:{head}:{digest}",
            for_block=head,
            validator_hotkey=validator,
            digest=digest,
            uids=tuple(vector),
            hotkeys=tuple(hotkey for hotkey, _ in vector.values()),
            shares_ppm=tuple(ppm for _, ppm in vector.values()),
            values=tuple(1 for _ in vector),
            version_key=1,
            reason="results changed",
            nonce=0,
            sent_after=head,
        )

    scene.ledger.decide(work)
    return head


def land(
    scene: Scene,
    for_block: int,
    block: int | None,
    validator: str = "V",
    digest: str = "sha256:0",
) -> None:
    """Its receipt: it landed in that block, or failed."""

    def work(unit: Unit) -> None:
        unit.observe(
            WeightsReceipt,
            f"weights-receipt:{unit.context.arena}:{validator}:{for_block}:{digest}",
            for_block=for_block,
            validator_hotkey=validator,
            digest=digest,
            block=block,
            extrinsic_hash=None,
            success=block is not None,
            error=None if block is not None else "rate limit",
        )

    scene.ledger.decide(work)


def send(scene: Scene, vector: Vector) -> None:
    """Sent and landed in the newest block."""
    land(scene, submit(scene, vector), scene.head)


def epoch(scene: Scene, *rows: tuple[int, str, int]) -> dict[str, PayoutLine]:
    """An epoch in the next block, of (uid, hotkey, incentive); its lines by hotkey."""
    uids, hotkeys, incentive = zip(*rows, strict=True)
    coldkeys = tuple(f"cold-{hotkey}" for hotkey in hotkeys)
    paid = EpochPaid(uids, hotkeys, coldkeys, incentive, (0,) * len(uids))
    return lines_of(scene, scene.block(epoch=paid))


def lines_of(scene: Scene, block: int) -> dict[str, PayoutLine]:
    found = scene.read(lambda scope: payouts_page(scope).lines)
    return {line.hotkey: line for line in found if line.epoch_block == block}


def late_epoch(scene: Scene, block: int, *rows: tuple[int, str, int]) -> dict[str, PayoutLine]:
    """The epoch of an older block, recorded now."""
    uids, hotkeys, incentive = zip(*rows, strict=True)

    def work(unit: Unit) -> None:
        unit.observe(
            EpochObserved,
            f"epoch:{ARENA}:{block}",
            block=block,
            block_hash=block_hash(block),
            uids=uids,
            hotkeys=hotkeys,
            coldkeys=tuple(f"cold-{hotkey}" for hotkey in hotkeys),
            incentive_alpha=incentive,
            dividends_alpha=(0,) * len(uids),
        )

    scene.ledger.decide(work)
    return lines_of(scene, block)


def price(scene: Scene, rao: int, about: int, source: str = "chain") -> None:
    def work(unit: Unit) -> None:
        unit.observe(
            PriceObserved,
            f"price:{ARENA}:ALPHA/TAO:{source}:{about}",
            pair="ALPHA/TAO",
            price=rao,
            source=source,
            about_block=about,
        )

    scene.ledger.decide(work)


def told(line: PayoutLine) -> tuple[Any, ...]:
    """Entitled, paid, withheld; misdirected and for whom; lost and to whom."""
    stray = (line.misdirected_alpha, line.meant_for)
    lost = (line.lost_alpha, line.lost_to)
    return (line.entitled_alpha, line.paid_alpha, line.withheld_alpha, stray, lost)


NOTHING = (0, None)


def test_a_uid_that_came_to_another_pays_that_one_what_was_meant_for_the_first(
    scene: Scene,
) -> None:
    scene.register((1, "H", None))
    send(scene, {0: ("owner", 400_000), 1: ("H", 600_000)})
    scene.register((1, "X", "H"))
    lines = epoch(scene, (0, "owner", 400), (1, "X", 600))
    assert told(lines["X"]) == (0, 600, 0, (600, "H"), NOTHING)
    assert told(lines["H"]) == (600, 0, 0, NOTHING, (600, "X"))
    assert lines["H"].uid is None
    assert lines["H"].coldkey == "cold-H"  # whose it was when it was last seen
    assert lines["H"].difference_alpha == 600
    assert told(lines["owner"]) == (0, 0, 400, NOTHING, NOTHING)


def test_one_that_came_back_on_another_uid_is_entitled_there(scene: Scene) -> None:
    scene.register((1, "H", None), (2, "K", None))
    send(scene, {1: ("H", 600_000), 2: ("K", 400_000)})
    scene.register((1, "X", "H"), (2, "H", "K"))
    lines = epoch(scene, (1, "X", 600), (2, "H", 400))
    # H got K's part, and X got H's.
    assert told(lines["H"]) == (600, 400, 0, (400, "K"), (600, "X"))
    assert told(lines["X"]) == (0, 600, 0, (600, "H"), NOTHING)
    assert told(lines["K"]) == (400, 0, 0, NOTHING, (400, "H"))


def test_two_that_changed_places_were_each_paid_the_others(scene: Scene) -> None:
    send(scene, {1: ("A", 700_000), 2: ("B", 300_000)})
    lines = epoch(scene, (1, "B", 700), (2, "A", 300))
    assert told(lines["A"]) == (700, 300, 0, (300, "B"), (700, "B"))
    assert told(lines["B"]) == (300, 700, 0, (700, "A"), (300, "A"))


def test_a_trimmed_uid_pays_nobody(scene: Scene) -> None:
    send(scene, {1: ("A", 500_000), 200: ("B", 500_000)})
    lines = epoch(scene, (1, "A", 1000))
    assert told(lines["A"]) == (500, 1000, 0, NOTHING, NOTHING)
    assert told(lines["B"]) == (500, 0, 0, NOTHING, NOTHING)


def test_a_swapped_coldkey_is_paid_and_owed_from_its_block_on(scene: Scene) -> None:
    scene.register((1, "H", None))
    send(scene, {1: ("H", 1_000_000)})
    first = epoch(scene, (1, "H", 10))["H"]
    scene.block(owners=(OwnerChange("H", "cold-H", "new"),))
    paid = EpochPaid((1,), ("H",), ("new",), (20,), (0,))
    scene.block(epoch=paid)
    scene.register((1, "X", "H"))
    gone = epoch(scene, (1, "X", 40))["H"]
    assert (first.coldkey, gone.coldkey) == ("cold-H", "new")
    old, new = (scene.read(lambda scope, a=a: totals(scope, a)) for a in ("cold-H", "new"))
    assert (old.entitled_alpha, old.paid_alpha, old.lost_alpha) == (10, 10, 0)
    assert (new.entitled_alpha, new.paid_alpha, new.lost_alpha) == (60, 20, 40)
    whole = scene.read(lambda scope: totals(scope, "H"))
    assert (whole.entitled_alpha, whole.paid_alpha, whole.difference_alpha) == (70, 30, 40)


def test_a_hotkey_swap_is_the_others_coming_and_the_same_coldkey_is_paid(scene: Scene) -> None:
    """The chain moves the UID to the new hotkey; the vector meant the old one until the next."""
    scene.block(neurons=(NeuronChange(1, "old", "whose", None),))
    send(scene, {1: ("old", 1_000_000)})
    scene.block(neurons=(NeuronChange(1, "new", "whose", "old"),))
    scene.block(epoch=EpochPaid((1,), ("new",), ("whose",), (50,), (0,)))
    whose = scene.read(lambda scope: totals(scope, "whose"))
    assert (whose.entitled_alpha, whose.paid_alpha, whose.difference_alpha) == (50, 50, 0)
    assert (whose.misdirected_alpha, whose.lost_alpha) == (50, 50)


def test_a_vector_that_burns_all_entitles_nobody_while_emission_is_paused(scene: Scene) -> None:
    send(scene, {1: ("H", 1_000_000)})
    scene.block()
    send(scene, {0: ("owner", 1_000_000)})
    lines = epoch(scene, (0, "owner", 90), (1, "H", 0))
    assert set(lines) == {"owner"}
    assert told(lines["owner"]) == (0, 0, 90, NOTHING, NOTHING)


def test_the_burn_uid_of_a_stranger_pays_the_stranger(scene: Scene) -> None:
    """The chain burns only what the subnet's owner would get."""
    scene.block(subnet_owner=("owner", "cold-owner"))
    send(scene, {0: ("owner", 600_000), 1: ("H", 400_000)})
    burned = epoch(scene, (0, "owner", 600), (1, "H", 400))
    assert told(burned["owner"]) == (0, 0, 600, NOTHING, NOTHING)
    paid = epoch(scene, (0, "X", 600), (1, "H", 400))
    assert told(paid["X"]) == (0, 600, 0, (600, None), NOTHING)  # it was to be burned
    assert told(paid["H"]) == (400, 400, 0, NOTHING, NOTHING)
    # The list of epochs says the same.
    assert [line.burned_alpha for line in scene.read(epochs)] == [600, 0]


def test_of_two_validators_the_vector_that_landed_last_is_in_force(scene: Scene) -> None:
    one = submit(scene, {1: ("H", 1_000_000)}, "V1")
    scene.block()
    other = submit(scene, {1: ("K", 1_000_000)}, "V2")
    scene.block()
    landed = scene.head
    scene.block()
    land(scene, other, landed + 1, "V2")
    land(scene, one, landed, "V1")  # its receipt came later, and it landed earlier
    lines = epoch(scene, (1, "K", 100))
    assert set(lines) == {"K"}
    assert lines["K"].vector_block == other
    late = submit(scene, {1: ("Z", 1_000_000)}, "V1", "sha256:1")
    land(scene, late, None, "V1", "sha256:1")  # it failed
    assert set(epoch(scene, (1, "K", 100))) == {"K"}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_receipts_in_any_order_leave_the_same_vectors_in_force(
    scene: Scene, order: tuple[int, ...]
) -> None:
    sent = []
    for name in "ABC":
        scene.block()
        sent.append((submit(scene, {1: (name, 1_000_000)}, name), scene.head, name))
    for place in order:
        for_block, landed, name = sent[place]
        land(scene, for_block, landed, name)
    scene.block()
    found = []
    for _, landed, _ in sent:
        lines = late_epoch(scene, landed + 1, (1, "X", 10))
        (found_hotkey,) = (line.hotkey for line in lines.values() if line.share_ppm)
        found.append(found_hotkey)
    assert found == ["A", "B", "C"]


def test_a_late_epoch_is_settled_by_what_was_in_force_and_counted_in_its_period(
    scene: Scene,
) -> None:
    scene.register((1, "H", None))
    send(scene, {1: ("H", 1_000_000)})
    price(scene, 2_000_000_000, scene.head)
    start = scene.head
    for _ in range(3):
        scene.block()
    send(scene, {1: ("K", 1_000_000)})
    price(scene, 3_000_000_000, scene.head)
    newest = epoch(scene, (1, "K", 7))["K"]
    late = late_epoch(scene, start + 1, (1, "H", 5))["H"]
    assert told(late) == (5, 5, 0, NOTHING, NOTHING)
    assert (late.price_rao, late.price_block, late.paid_rao) == (2_000_000_000, start, 10)
    assert (newest.price_rao, newest.paid_rao) == (3_000_000_000, 21)
    within = scene.read(lambda scope: totals(scope, "H", (start, start + 1)))
    assert (within.total, within.paid_alpha, within.paid_rao) == (1, 5, 10)
    after = scene.read(lambda scope: totals(scope, "H", (start + 1, scope.block)))
    assert (after.total, after.paid_alpha) == (0, 0)
    (whole,) = scene.read(lambda scope: by_period(scope, "H"))
    assert (whole.period, whole.paid_alpha, whole.paid_rao) == (None, 5, 10)


def test_an_epoch_without_a_price_has_no_value_and_not_none_of_it(scene: Scene) -> None:
    send(scene, {1: ("H", 1_000_000)})
    first = epoch(scene, (1, "H", 5))["H"]
    assert (first.price_rao, first.price_block, first.paid_rao) == (None, None, None)
    scene.block()
    price(scene, 1_000_000_000, scene.head, source="exchange")  # not the pool's
    unpriced = epoch(scene, (1, "H", 5))["H"]
    assert unpriced.paid_rao is None
    price(scene, 1_500_000_000, scene.head)  # of the epoch's own block, recorded behind it
    priced = lines_of(scene, scene.head)["H"]
    assert (priced.price_rao, priced.price_block, priced.paid_rao) == (1_500_000_000, scene.head, 7)
    whole = scene.read(lambda scope: totals(scope, "H"))
    assert (whole.paid_rao, whole.unpriced_alpha) == (None, 5)
    known = scene.read(lambda scope: totals(scope, "H", (scope.block - 1, scope.block)))
    assert (known.paid_rao, known.unpriced_alpha) == (7, 0)
