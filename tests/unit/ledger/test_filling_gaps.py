"""A gap is recorded with the block after it; its blocks are filled late, each once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Engine

from ledger.commands.block_facts import (
    AlphaBurned,
    EmptiedUid,
    EpochPaid,
    Gap,
    LockSeen,
    NeuronChange,
    PoolSeen,
    RegistrationPaid,
    SeenAnew,
)
from ledger.commands.blocks import record_block
from ledger.commands.gaps import fill_block
from ledger.commands.rereading import compare_block
from ledger.decisions.arena import KingDeposed
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.payment import PaymentSeen
from ledger.decisions.submission import SubmissionRefused
from ledger.observations import (
    AlertRaised,
    BalanceObserved,
    BlockFilled,
    EpochObserved,
    FactConflictSeen,
    GapObserved,
)
from ledger.queries.emissions import epochs
from ledger.queries.payouts import all_payouts
from ledger.queries.standing import gaps, last_safe_block, missing_blocks, safe_block
from ledger.queries.subnet import (
    burns,
    locked_hotkeys,
    locks,
    pools,
    prices,
    registration_costs,
)
from ledger.queries.weights import registry
from tests.unit.ledger.scenes import (
    FEE_RAO,
    OPENED_AT,
    OTHER_ARENA,
    TREASURY,
    Paid,
    Scene,
    block_hash,
    commit,
    digest,
    treasury_of,
)
from tests.unit.ledger.test_payouts import HOTKEYS, send


def pass_gap(
    scene: Scene, length: int, emptied: tuple[EmptiedUid, ...] = (), **anew: object
) -> tuple[int, int]:
    """Go on after ``length`` missing blocks; the first and the last of them."""
    first = scene.head + 1
    last = first + length - 1
    seen = SeenAnew(Gap(first, last, "pruned"), **anew)  # type: ignore[arg-type]
    record_block(scene.ledger, scene.facts_of(last + 1, emptied=emptied, seen_anew=seen))
    return first, last


def test_a_gap_is_recorded_with_the_block_after_it_and_raises_an_alert(scene: Scene) -> None:
    first, last = pass_gap(scene, 5, balances=(("TAO", TREASURY, 77, "chain"),))
    (gap,) = scene.facts(GapObserved)
    assert (gap.from_block, gap.to_block, gap.effective_block) == (first, last, last + 1)
    (alert,) = scene.facts(AlertRaised)
    assert alert.kind == "gap"
    assert f"blocks {first} to {last}" in alert.detail
    (balance,) = scene.facts(BalanceObserved)
    assert (balance.amount, balance.about_block) == (77, last + 1)
    assert scene.read(safe_block) == first - 1


def test_a_gap_that_does_not_lie_between_the_log_and_the_block_is_refused(scene: Scene) -> None:
    before = scene.log()
    for gap in (Gap(12, 13, "x"), Gap(11, 12, "x"), Gap(11, 10, "x")):
        facts = scene.facts_of(14, seen_anew=SeenAnew(gap))
        with pytest.raises(DecisionRefusedError, match="does not lie between"):
            record_block(scene.ledger, facts)
    assert scene.log() == before


def test_a_uid_that_nobody_holds_any_longer_is_empty_and_its_king_falls(scene: Scene) -> None:
    scene.register((1, "A", None), (2, "B", None))
    scene.contest({scene.submit("A"): 300})
    assert scene.king() == "A"
    pass_gap(scene, 3, emptied=(EmptiedUid(1, "A"),))
    assert set(scene.read(registry)) == {2}
    assert scene.king() is None
    (deposed,) = scene.facts(KingDeposed)
    assert deposed.hotkey == "A"


def test_who_moved_to_another_uid_keeps_its_throne(scene: Scene) -> None:
    scene.register((1, "A", None), (2, "B", None))
    scene.contest({scene.submit("A"): 300})
    first = scene.head + 1
    anew = SeenAnew(Gap(first, first, "pruned"))
    moved = (NeuronChange(1, "B", "cold-B", "A"), NeuronChange(0, "A", "cold-A", None))
    left = (EmptiedUid(2, "B"),)
    facts = scene.facts_of(first + 1, neurons=moved, emptied=left, seen_anew=anew)
    record_block(scene.ledger, facts)
    assert scene.read(registry) == {0: ("A", "cold-A"), 1: ("B", "cold-B")}
    assert scene.king() == "A"


def test_a_filled_block_is_recorded_late_and_once(scene: Scene) -> None:
    first, last = pass_gap(scene, 3)
    paid = Paid("A", digest("a"), first, 3, FEE_RAO)
    found = commit(paid)
    facts = scene.facts_of(first, deposits=(paid.deposit,), commits=(found,))
    assert fill_block(scene.ledger, facts)
    log = scene.log()
    assert not fill_block(scene.ledger, facts)
    assert scene.log() == log
    assert scene.status(scene.identity(found, first)) == "queued"
    (filled,) = scene.facts(BlockFilled)
    (payment,) = scene.facts(PaymentSeen)
    assert (filled.effective_block, payment.effective_block) == (last + 1, last + 1)
    assert (filled.number, payment.block) == (first, first)
    (line,) = scene.read(gaps)
    assert (line.filled, line.missing, line.filled_at_block) == (1, ((first + 1, last),), None)
    assert scene.read(safe_block) == first


def test_a_gap_is_filled_in_any_order_and_then_closed(scene: Scene) -> None:
    first, last = pass_gap(scene, 4)
    for number in (first + 1, last, first, first + 2):
        fill_block(scene.ledger, scene.facts_of(number))
    (line,) = scene.read(gaps)
    assert (line.filled, line.missing, line.filled_at_block) == (4, (), last + 1)
    assert scene.read(safe_block) == scene.head - 1


def test_a_block_outside_every_gap_is_not_filled(scene: Scene) -> None:
    scene.block()
    pass_gap(scene, 2)
    for number in (OPENED_AT, OPENED_AT + 1, scene.head, scene.head + 1):
        with pytest.raises(DecisionRefusedError):
            fill_block(scene.ledger, scene.facts_of(number))


def test_a_block_that_does_not_fit_its_neighbours_is_refused(scene: Scene) -> None:
    first, last = pass_gap(scene, 2)
    foreign_child = replace(scene.facts_of(first), parent_hash=block_hash(first - 1, "fork"))
    scene_before = scene.log()
    foreign_parent = replace(scene.facts_of(last), hash=block_hash(last, "fork"))
    with pytest.raises(DecisionRefusedError, match="another chain"):
        fill_block(scene.ledger, foreign_parent)
    assert scene.log() == scene_before
    scene.block()
    first, _ = pass_gap(scene, 1)
    foreign_child = replace(scene.facts_of(first), parent_hash=block_hash(first - 1, "fork"))
    with pytest.raises(DecisionRefusedError, match="another chain"):
        fill_block(scene.ledger, foreign_child)


def test_a_payment_that_a_later_commit_took_meanwhile_stays_taken(scene: Scene) -> None:
    paid = scene.pay("A", "a")
    first, _ = pass_gap(scene, 1)
    later = commit(paid, index=2)
    accepted = scene.identity(later, scene.block(commits=(later,)))
    earlier = commit(paid, index=5)
    fill_block(scene.ledger, scene.facts_of(first, commits=(earlier,)))
    assert scene.status(accepted) == "queued"
    assert scene.payment(paid).consumed_by == accepted
    (refused,) = scene.facts(SubmissionRefused)
    assert refused.originator_id == scene.identity(earlier, first)
    assert refused.codes == ("payment_already_used",)


def test_a_filled_block_moves_nobody_from_the_uid_that_was_observed_after_the_gap(
    scene: Scene,
) -> None:
    scene.register((1, "A", None))
    first, _ = pass_gap(scene, 2)
    scene.register((1, "C", "A"))
    fill_block(
        scene.ledger,
        scene.facts_of(first, neurons=(NeuronChange(1, "B", "cold-B", "A"),)),
    )
    assert scene.read(registry)[1] == ("C", "cold-C")
    (filled,) = scene.facts(BlockFilled)
    assert (filled.uids, filled.hotkeys) == ((1,), ("B",))


def paid_epoch() -> EpochPaid:
    coldkeys = tuple(f"cold-{hotkey}" for hotkey in HOTKEYS)
    return EpochPaid((0, 1, 2), HOTKEYS, coldkeys, (0, 600, 400), (0, 0, 0))


def test_an_epoch_of_a_gap_is_entitled_by_the_vector_then_in_force(scene: Scene) -> None:
    send(scene, {1: 700_000, 2: 300_000})
    first, _ = pass_gap(scene, 2)
    for shares in ({1: 100_000, 2: 900_000}, {1: 200_000, 2: 800_000}, {2: 1_000_000}):
        send(scene, shares)
        scene.block()
    fill_block(scene.ledger, scene.facts_of(first + 1, epoch=paid_epoch()))
    lines = {
        line.hotkey: (line.share_ppm, line.entitled_alpha, line.paid_alpha)
        for line in scene.read(all_payouts)
        if line.epoch_block == first + 1
    }
    assert lines == {"A": (700_000, 700, 600), "B": (300_000, 300, 400)}


def test_an_epoch_of_a_gap_belongs_to_whoever_was_king_then(scene: Scene) -> None:
    scene.register((1, "A", None), (2, "B", None))
    king = scene.submit("A")
    scene.contest({king: 400})
    first, _ = pass_gap(scene, 2)
    challenger = scene.submit("B")
    scene.contest({king: 400, challenger: 100}, challenger)
    assert scene.king() == "B"
    fill_block(scene.ledger, scene.facts_of(first, epoch=paid_epoch()))
    (line,) = [line for line in scene.read(epochs) if line.epoch_block == first]
    assert line.king_hotkey == "A"
    (seen,) = scene.facts(EpochObserved)
    assert seen.effective_block == scene.head


def test_the_last_safe_block_is_before_the_head_and_before_every_missing_block() -> None:
    assert last_safe_block(100, []) == 99
    assert last_safe_block(100, [(50, 60), (70, 70)]) == 49
    assert last_safe_block(100, [(70, 70), (50, 60)]) == 49


def test_of_several_gaps_the_open_parts_are_told_in_order(scene: Scene) -> None:
    a, _ = pass_gap(scene, 2)
    scene.block()
    b, c = pass_gap(scene, 3)
    fill_block(scene.ledger, scene.facts_of(b + 1))
    assert scene.read(lambda scope: missing_blocks(gaps(scope))) == [
        (a, a + 1),
        (b, b),
        (c, c),
    ]


def test_a_block_read_again_alike_differs_in_nothing(scene: Scene) -> None:
    paid = Paid("A", digest("a"), scene.head + 1, 3, FEE_RAO)
    content = {"deposits": (paid.deposit,), "commits": (commit(paid),), "epoch": paid_epoch()}
    number = scene.block(**content)
    scene.block()
    log = scene.log()
    assert compare_block(scene.ledger, scene.facts_of(number, **content)) == []
    assert scene.log() == log


def test_a_block_read_again_otherwise_is_a_conflict_and_tells_what_is_missing_and_too_many(
    scene: Scene,
) -> None:
    paid = Paid("A", digest("a"), scene.head + 1, 3, FEE_RAO)
    other = Paid("B", digest("b"), scene.head + 1, 4, FEE_RAO)
    number = scene.block(deposits=(paid.deposit,), epoch=paid_epoch())
    again = replace(paid_epoch(), incentive_alpha=(0, 601, 399))
    facts = scene.facts_of(number, deposits=(other.deposit,), epoch=again)
    differences = compare_block(scene.ledger, facts)
    assert len(differences) == 3
    assert any("incentive_alpha" in one for one in differences)
    assert any(":4' is not in the log" in one for one in differences)
    assert any(":3' is in the log and not in block" in one for one in differences)
    (conflict,) = scene.facts(FactConflictSeen)
    assert conflict.conflicting_key.startswith("epoch:")
    assert len(scene.facts(PaymentSeen)) == 1


def test_another_runtime_is_told_once(scene: Scene) -> None:
    number = scene.head + 1
    record_block(scene.ledger, replace(scene.facts_of(number), spec_version=2, upgraded_from=1))
    (alert,) = scene.facts(AlertRaised)
    assert (alert.kind, alert.block) == ("runtime_upgraded", number)


def test_a_filled_block_read_again_is_compared_with_what_was_filled(scene: Scene) -> None:
    first, _ = pass_gap(scene, 1)
    came = NeuronChange(1, "B", "cold-B", None)
    fill_block(scene.ledger, scene.facts_of(first, neurons=(came,), subnet_owner=("o", "oc")))
    alike = scene.facts_of(first, neurons=(came,), subnet_owner=("o", "oc"))
    assert compare_block(scene.ledger, alike) == []
    (difference,) = compare_block(scene.ledger, replace(alike, subnet_owner=("p", "pc")))
    assert "owner_hotkey: 'o' is recorded, 'p' was offered" in difference


def test_a_lock_read_late_does_not_bring_back_one_that_went_meanwhile(scene: Scene) -> None:
    def lock(block: int, alpha: int) -> LockSeen:
        return LockSeen("cold-A", "A", alpha, 0, block, True, 50, 70)

    scene.block(locks=(lock(scene.head + 1, 500),))
    first, _ = pass_gap(scene, 2)
    assert [line.locked_alpha for line in scene.read(locks)] == [500]
    scene.block(locks=(lock(scene.head + 1, 0),))
    assert (scene.read(locks), scene.read(locked_hotkeys)) == ([], {})
    fill_block(scene.ledger, scene.facts_of(first, locks=(lock(first, 700),)))
    assert (scene.read(locks), scene.read(locked_hotkeys)) == ([], {})
    scene.block(locks=(lock(scene.head + 1, 30),))
    assert [line.locked_alpha for line in scene.read(locks)] == [30]


def test_a_payment_to_two_arenas_treasuries_is_read_again_alike_in_both(engine: Engine) -> None:
    scenes = [Scene(engine), Scene(engine, OTHER_ARENA)]
    treasuries = (TREASURY, treasury_of(OTHER_ARENA.netuid))
    mine = [Paid("A", digest("a"), OPENED_AT + 1, 3, FEE_RAO, one) for one in treasuries]
    for scene, paid in zip(scenes, mine, strict=True):
        scene.block(deposits=(paid.deposit,))
    for scene, paid in zip(scenes, mine, strict=True):
        (seen,) = scene.facts(PaymentSeen)
        assert seen.treasury == paid.treasury
        facts = scene.facts_of(OPENED_AT + 1, deposits=(paid.deposit,))
        assert compare_block(scene.ledger, facts) == []
        (missing,) = compare_block(scene.ledger, scene.facts_of(OPENED_AT + 1))
        assert f"'{seen.fact_key}' is in the log and not in block" in missing
        assert scene.facts(FactConflictSeen) == []


def test_burns_that_an_older_program_did_not_note_are_no_difference(scene: Scene) -> None:
    number = scene.block()
    anybodys, ours = (
        AlphaBurned(2, "0x2", "burn_alpha", coldkey, "A", 14, None, 5)
        for coldkey in ("cold-A", TREASURY)
    )
    assert compare_block(scene.ledger, scene.facts_of(number, burns=(anybodys,))) == []
    (missing,) = compare_block(scene.ledger, scene.facts_of(number, burns=(ours,)))
    assert "is not in the log" in missing


def test_what_was_read_late_is_listed_by_its_block(scene: Scene) -> None:
    def shown(number: int) -> dict[str, object]:
        burn = AlphaBurned(2, "0x2", "burn_alpha", "cold-A", "A", 14, None, number)
        cost = RegistrationPaid(3, 1, "A", "cold-A", number)
        pool = PoolSeen(number, 1, 1, number)
        return {"burns": (burn,), "registrations": (cost,), "pool": pool}

    first, last = pass_gap(scene, 1)
    scene.block(**shown(last + 2))
    fill_block(scene.ledger, scene.facts_of(first, **shown(first)))
    expected = [first, last + 2]
    assert [row["alpha"] for row in scene.read(burns)] == expected
    assert [row["tao_rao"] for row in scene.read(pools)] == expected
    assert [row["price"] for row in scene.read(prices)] == expected
    assert [row["cost_rao"] for row in scene.read(registration_costs)] == expected


def test_an_epoch_missed_before_a_block_read_late_names_that_block(scene: Scene) -> None:
    scene.block()
    first, last = pass_gap(scene, 3)
    scene.block()
    epoch = replace(paid_epoch(), previous_block=first)
    fill_block(scene.ledger, scene.facts_of(last, epoch=epoch))
    (alert,) = (fact for fact in scene.facts(AlertRaised) if fact.kind == "epoch_missed")
    assert f"the epoch of block {first} is not in the log" in alert.detail
    assert f"the one of block {last} followed it" in alert.detail
