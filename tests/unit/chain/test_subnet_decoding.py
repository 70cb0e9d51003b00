"""Events and storage of newer runtimes, in the shapes that the libraries decode them to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from chain.beside import Beside, held_weights, touched_locks
from chain.burns import alpha_burns, registration_costs
from chain.holders import move_on
from chain.node_decode import call_from
from chain.node_subnet import lock_from
from chain.port import Block, Call, ChainEvent, Extrinsic, Neuron, StakeLock, ValidatorWeights
from ledger.commands.block_facts import LockSeen
from ledger.rules.weights import held_form

NETUID = 14
REGISTRY = {0: ("owner", "owner cold"), 7: ("validator", "cold")}


def block(*events: tuple[str, dict[str, Any]], call: Call | None = None) -> Block:
    """A block with one extrinsic and the subtensor pallet's events of it."""
    extrinsic = Extrinsic(1, "0x01", "signer", call or Call("System", "remark", {}), True)
    return Block(
        number=100,
        hash="0xaa",
        parent_hash="0xbb",
        timestamp_ms=None,
        spec_version=400,
        extrinsics=(extrinsic,),
        events=tuple(
            ChainEvent(
                index,
                1,
                "Balances" if name == "Withdraw" else "SubtensorModule",
                name,
                attributes,
            )
            for index, (name, attributes) in enumerate(events)
        ),
    )


class Asked:
    """A chain that notes what it is asked and answers from what it was given."""

    def __init__(
        self,
        neurons: Sequence[Neuron] = (),
        rows: Sequence[ValidatorWeights] = (),
        locks: Sequence[StakeLock] = (),
    ) -> None:
        self.asked: list[Any] = []
        self._neurons, self._rows, self._locks = neurons, rows, locks

    def neurons(self, netuid: int, block_hash: str) -> Sequence[Neuron]:
        self.asked.append(("neurons", netuid, block_hash))
        return self._neurons

    def owner(self, hotkey: str, block_hash: str) -> str:
        self.asked.append(("owner", hotkey, block_hash))
        return f"{hotkey} cold"

    def validator_weights(
        self, netuid: int, block_hash: str, uids: Collection[int] | None = None
    ) -> Sequence[ValidatorWeights]:
        self.asked.append(("weights", None if uids is None else sorted(uids)))
        return [row for row in self._rows if uids is None or row.uid in uids]

    def stake_locks(
        self, netuid: int, coldkeys: Collection[str], block_hash: str
    ) -> Sequence[StakeLock]:
        self.asked.append(("locks", sorted(coldkeys)))
        return [lock for lock in self._locks if lock.coldkey in coldkeys]


def lock(coldkey: str = "cold", hotkey: str = "validator") -> StakeLock:
    return lock_from(
        coldkey,
        hotkey,
        {"locked_mass": 5_000, "conviction": {"bits": (70 << 64) + 123}, "last_update": 99},
        decaying=False,
        rates=(934_866, 0),
    )


# -- weights ----------------------------------------------------------------------------------


def weights_asked(*events: tuple[str, dict[str, Any]]) -> list[Any]:
    chain = Asked()
    made = block(*events)
    held_weights(chain, NETUID, made, REGISTRY, Beside(), all_of_them=False)  # type: ignore[arg-type]
    return chain.asked


def test_every_way_of_setting_weights_names_its_validator() -> None:
    by_uid = {"0": NETUID, "1": 7}
    assert weights_asked(("WeightsSet", by_uid)) == [("weights", [7])]
    for name in ("CRV3WeightsRevealed", "TimelockedWeightsRevealed"):
        assert weights_asked((name, {"0": NETUID, "1": "validator"})) == [("weights", [7])]
    for name in ("WeightsRevealed", "WeightsBatchRevealed"):
        seen = {"0": "validator", "1": NETUID, "2": "0x00"}
        assert weights_asked((name, seen)) == [("weights", [7])]
    batch = {"0": [1, NETUID], "1": "validator"}
    assert weights_asked(("BatchWeightsCompleted", batch)) == [("weights", [7])]


def test_other_subnets_and_commits_that_are_sealed_ask_for_nothing() -> None:
    assert weights_asked(("WeightsSet", {"0": 3, "1": 7})) == []
    assert weights_asked(("BatchWeightsCompleted", {"0": [1, 3], "1": "validator"})) == []
    sealed = {"0": "validator", "1": NETUID, "2": "0x00", "3": 9}
    assert weights_asked(("TimelockedWeightsCommitted", sealed)) == []
    assert weights_asked(("TimelockedWeightsRevealed", {"0": NETUID, "1": "stranger"})) == []


def test_an_epoch_says_of_weights_only_what_is_not_known() -> None:
    rows = [
        ValidatorWeights(7, "validator", ((0, 65_535),), 90),
        ValidatorWeights(9, "other", ((0, 30_000), (3, 10_000)), 95),
    ]
    known = Beside(held={"validator": (held_form((0,), (65_535,)).digest, 90)})
    found = held_weights(
        Asked(rows=rows),  # type: ignore[arg-type]
        NETUID,
        block(),
        {**REGISTRY, 9: ("other", "cold")},
        known,
        all_of_them=True,
    )
    assert [held.validator_hotkey for held in found] == ["other"]


def test_weights_that_are_not_canonical_are_compared_in_canonical_form() -> None:
    form = held_form((3, 0), (10_000, 30_000))
    assert (form.uids, form.values) == ((0, 3), (65_535, 21_845))
    assert form.raw_values == (30_000, 10_000)
    assert form.digest == held_form((0, 3), (65_535, 21_845)).digest
    assert held_form((0, 3), (65_535, 21_845)).raw_values is None
    assert held_form((), ()).values == ()


# -- holders ----------------------------------------------------------------------------------


def moved(made: Block) -> tuple[list[Any], dict[int, tuple[str, str]]]:
    chain, registry = Asked(neurons=[Neuron(0, "new", "cold")]), dict(REGISTRY)
    move_on(chain, NETUID, made, registry)  # type: ignore[arg-type]
    return chain.asked, registry


def test_swaps_and_dissolved_subnets_are_a_reason_to_look() -> None:
    for name in ("HotkeySwapped", "HotkeySwappedOnSubnet", "ColdkeySwapped", "NetworkRemoved"):
        asked, registry = moved(block((name, {})))
        assert asked == [("neurons", NETUID, "0xaa")]
        assert registry == {0: ("new", "cold")}


def test_trimming_is_seen_by_its_call_however_it_is_wrapped() -> None:
    trim = {
        "call_module": "AdminUtils",
        "call_function": "sudo_trim_to_max_allowed_uids",
        "call_args": [{"name": "netuid", "value": NETUID}, {"name": "max_n", "value": 64}],
    }
    sudo = {
        "call_module": "Sudo",
        "call_function": "sudo",
        "call_args": [{"name": "call", "value": trim}],
    }
    proxy = {
        "call_module": "Proxy",
        "call_function": "proxy",
        "call_args": [{"name": "real", "value": "x"}, {"name": "call", "value": trim}],
    }
    batch = {
        "call_module": "Utility",
        "call_function": "batch",
        "call_args": [{"name": "calls", "value": [proxy]}],
    }
    for call in (trim, sudo, proxy, batch):
        assert moved(block(call=call_from(call)))[0] == [("neurons", NETUID, "0xaa")]
    assert moved(block())[0] == []


def test_of_two_registrations_at_one_uid_the_last_holds_it() -> None:
    first, last = ({"0": NETUID, "1": 7, "2": hotkey} for hotkey in ("first", "last"))
    asked, registry = moved(block(("NeuronRegistered", first), ("NeuronRegistered", last)))
    assert registry[7] == ("last", "last cold")
    assert [question[0] for question in asked] == ["owner", "owner"]


# -- burns ------------------------------------------------------------------------------------


def test_each_purchase_vouches_for_its_own_burn() -> None:
    """A batch buys and burns twice, and burns stake besides; each says what was paid for it."""
    bought = [
        {"netuid": NETUID, "hotkey": "h", "amount": tao, "alpha": alpha}
        for tao, alpha in ((100, 40), (200, 75))
    ]
    burned = [{"0": "t", "1": "h", "2": alpha, "3": NETUID} for alpha in (40, 75, 11)]
    made = block(
        ("AlphaBurned", burned[0]),
        ("AddStakeBurn", bought[0]),
        ("AlphaBurned", burned[1]),
        ("AddStakeBurn", bought[1]),
        ("AlphaBurned", burned[2]),
        ("AlphaRecycled", {"0": "u", "1": "h", "2": 40, "3": NETUID}),
        ("AlphaBurned", {"0": "t", "1": "h", "2": 40, "3": 3}),
    )
    assert [(burn.how, burn.spent_rao, burn.alpha) for burn in alpha_burns(made, NETUID)] == [
        ("add_stake_burn", 100, 40),
        ("add_stake_burn", 200, 75),
        ("burn_alpha", None, 11),
        ("recycle_alpha", None, 40),
    ]


def test_a_registration_that_shows_no_cost_has_none() -> None:
    paid = ("Withdraw", {"who": "payer", "amount": 5})
    total = ("RAORecycledForRegistrationSet", {"0": NETUID, "1": 105})
    first = ("NeuronRegistered", {"0": NETUID, "1": 3, "2": "h"})
    second = ("NeuronRegistered", {"0": NETUID, "1": 4, "2": "i"})
    (cost,) = registration_costs(block(paid, total, first, second), NETUID)
    assert (cost.uid, cost.hotkey, cost.payer, cost.cost_rao) == (3, "h", "payer", 5)
    assert registration_costs(block(paid, first), NETUID) == ()
    assert registration_costs(block(paid, total, first), 3) == ()


# -- locks ------------------------------------------------------------------------------------


def test_a_lock_is_decoded_from_its_fixed_point_state() -> None:
    assert lock() == StakeLock("cold", "validator", 5_000, 70, 99, True, 934_866, 934_866)
    decaying = lock_from(
        "c", "h", {"locked_mass": 1, "conviction": 0, "last_update": 1}, None, (50, 60)
    )
    assert (decaying.perpetual, decaying.unlock_blocks, decaying.maturity_blocks) == (False, 50, 60)


def test_every_touch_of_a_lock_asks_for_its_coldkeys() -> None:
    touches: list[tuple[str, dict[str, Any], list[str]]] = [
        ("StakeLocked", {"coldkey": "cold", "hotkey": "h", "netuid": NETUID}, ["cold"]),
        ("StakeUnlocked", {"coldkey": "cold", "hotkey": "h", "netuid": NETUID}, ["cold"]),
        ("LockMoved", {"coldkey": "cold", "netuid": NETUID}, ["cold"]),
        ("PerpetualLockUpdated", {"coldkey": "cold", "netuid": NETUID}, ["cold"]),
        ("ColdkeySwapped", {"old_coldkey": "cold", "new_coldkey": "d"}, ["cold", "d"]),
        ("StakeTransferred", {"0": "cold", "1": "d", "2": "h", "3": 1, "4": NETUID}, ["cold", "d"]),
    ]
    for name, attributes, coldkeys in touches:
        chain = Asked(locks=[lock()])
        (seen,) = touched_locks(chain, NETUID, block((name, attributes)), Beside())  # type: ignore[arg-type]
        assert chain.asked == [("locks", coldkeys)]
        assert (seen.coldkey, seen.locked_alpha, seen.conviction_alpha) == ("cold", 5_000, 70)
    elsewhere = block(("StakeLocked", {"coldkey": "cold", "hotkey": "h", "netuid": 3}))
    assert touched_locks(Asked(), NETUID, elsewhere, Beside()) == ()  # type: ignore[arg-type]


def test_a_lock_that_is_gone_locks_nothing_from_then_on() -> None:
    known = Beside(locked={"cold": "validator"})
    gone = block(("StakeUnlocked", {"coldkey": "cold", "hotkey": "validator", "netuid": NETUID}))
    assert touched_locks(Asked(), NETUID, gone, known) == (  # type: ignore[arg-type]
        LockSeen("cold", "validator", 0, 0, 100, False, 1, 1),
    )
    assert known.locked == {}
