"""Who holds what, by block: UIDs, owners, weights; and what epochs pay."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_season import (
    C1,
    C2,
    C3,
    GENESIS,
    M1,
    M2,
    M3,
    NETUID,
    OWNER_COLD,
    OWNER_HOT,
    TAO,
    TX_FEE_RAO,
    VALIDATOR,
    VALIDATOR_COLD,
    Script,
    events_of,
    opened,
    set_weights,
)

from chain.port import Neuron, SendRefusedError, ValidatorWeights
from chain.simulated import (
    Genesis,
    GenesisNeuron,
    Register,
    ScriptError,
    SetSubnetOwner,
    SimulatedChain,
    SwapColdkey,
    Transfer,
    account,
)
from chain.simulated.pallets.epoch import split_emission

NEW = account("new cold")


def holder(chain: SimulatedChain, uid: int, number: int) -> tuple[str, str] | None:
    held = {n.uid: (n.hotkey, n.coldkey) for n in chain.neurons(NETUID, chain.block(number).hash)}
    return held.get(uid)


def test_every_past_blocks_state_stays_readable(tmp_path: Path) -> None:
    script: Script = {
        2: [Register(hotkey=M3, coldkey=C3)],
        4: [SwapColdkey(old=C1, new=NEW)],
        6: [Transfer(source=C2, destination=C3, rao=TAO)],
        7: [SetSubnetOwner(hotkey=M2, coldkey=C2)],
    }
    with opened(tmp_path, script) as chain:
        chain.advance_to(8)
        at = [chain.block(number).hash for number in range(9)]
        assert [holder(chain, 4, number) for number in (1, 2, 8)] == [None, (M3, C3), (M3, C3)]
        assert [chain.owner(M1, at[number]) for number in (0, 3, 4, 8)] == [C1, C1, NEW, NEW]
        assert chain.owner(account("nobody"), at[8]) is None
        assert [chain.balance_rao(C2, at[number]) for number in (5, 6)] == [
            10 * TAO,
            9 * TAO - TX_FEE_RAO,
        ]
        assert chain.subnet_owner(NETUID, at[6]) == (OWNER_HOT, OWNER_COLD)
        assert chain.subnet_owner(NETUID, at[7]) == (M2, C2)
        assert chain.subnet_owner(NETUID + 1, at[7]) is None
        assert chain.neurons(NETUID, at[0]) == [
            Neuron(0, OWNER_HOT, OWNER_COLD),
            Neuron(1, VALIDATOR, VALIDATOR_COLD),
            Neuron(2, M1, C1),
            Neuron(3, M2, C2),
        ]


def test_a_swap_moves_hotkeys_stake_and_balance_to_the_new_coldkey(tmp_path: Path) -> None:
    with opened(tmp_path, {3: [SwapColdkey(old=C1, new=NEW)]}) as chain:
        set_weights(chain, [2], [65_535])  # block 1; the epoch of block 5 comes after
        chain.advance_to(5)
        before, after = chain.block(2).hash, chain.block(3).hash
        (swapped,) = events_of(chain.block(3), 1, "SubtensorModule.ColdkeySwapped")
        assert swapped.attributes == {"old_coldkey": C1, "new_coldkey": NEW, "swap_cost": 0}
        assert chain.balance_rao(C1, after) == 0
        assert chain.balance_rao(NEW, after) == chain.balance_rao(C1, before) - TX_FEE_RAO
        end = chain.finalized_head().hash
        assert chain.stake_alpha(C1, NETUID, end) == 0 < chain.stake_alpha(NEW, NETUID, end)


def test_stake_earned_before_a_swap_goes_with_it(tmp_path: Path) -> None:
    with opened(tmp_path, {7: [SwapColdkey(old=C1, new=NEW)]}) as chain:
        set_weights(chain, [2], [65_535])
        chain.advance_to(7)
        earned = chain.stake_alpha(C1, NETUID, chain.block(6).hash)
        assert earned > 0
        assert chain.stake_alpha(NEW, NETUID, chain.block(7).hash) == earned
        assert chain.stake_alpha(C1, NETUID, chain.block(7).hash) == 0


def test_a_coldkey_that_owns_hotkeys_takes_no_swap(tmp_path: Path) -> None:
    with opened(tmp_path, {1: [SwapColdkey(old=C1, new=C2)]}) as chain:
        block = chain.advance()
        assert block.extrinsics[1].error == "SubtensorModule.ColdKeyAlreadyAssociated"
        assert chain.owner(M1, block.hash) == C1


def test_a_replaced_holder_loses_its_uid_and_the_weight_stays_on_the_uid(tmp_path: Path) -> None:
    newcomer = account("m4")
    script = {3: [Register(hotkey=newcomer, coldkey=C3, replacing_uid=2)]}
    with opened(tmp_path, script) as chain:
        set_weights(chain, [2], [65_535])
        chain.advance_to(5)
        assert [holder(chain, 2, number) for number in (2, 3)] == [(M1, C1), (newcomer, C3)]
        (registered,) = events_of(chain.block(3), 1, "SubtensorModule.NeuronRegistered")
        assert registered.attributes == {"0": NETUID, "1": 2, "2": newcomer}
        assert chain.owner(M1, chain.block(3).hash) == C1
        epoch = chain.epoch(chain.block(5), NETUID)
        assert epoch is not None
        paid = {row.hotkey: row.incentive_alpha for row in epoch.rows if row.incentive_alpha}
        assert list(paid) == [newcomer]
        assert chain.stake_alpha(C3, NETUID, chain.block(5).hash) == paid[newcomer]


def test_registrations_take_the_lowest_free_uid_until_there_is_none(tmp_path: Path) -> None:
    extra = [Register(hotkey=account(f"x{place}"), coldkey=C3) for place in range(2)]
    with opened(tmp_path) as chain:
        block = chain.advance([*extra, Register(hotkey=M1, coldkey=C1)])
        assert [extrinsic.error for extrinsic in block.extrinsics[1:]] == [
            None,
            "SubtensorModule.NoNeuronIdAvailable",
            "SubtensorModule.HotKeyAlreadyRegisteredInSubNet",
        ]
        assert holder(chain, 4, 1) == (account("x0"), C3)
        foreign = Register(hotkey=M1, coldkey=C3, replacing_uid=2)
        others = Register(hotkey=account("x0"), coldkey=C1, replacing_uid=3)
        assert not any(x.success for x in chain.advance([foreign, others]).extrinsics[1:])


def test_weights_land_in_the_next_block_with_their_event(tmp_path: Path) -> None:
    with opened(tmp_path) as chain:
        receipt = set_weights(chain, [3, 0, 2], [655, 65_535, 0])
        assert (receipt.success, receipt.block) == (True, chain.block(1).ref)
        sent = chain.block(1).extrinsics[receipt.extrinsic_index]
        assert (sent.signer, sent.hash) == (VALIDATOR, receipt.extrinsic_hash)
        assert [event.name for event in receipt.events] == ["WeightsSet", "ExtrinsicSuccess"]
        assert chain.validator_weights(NETUID, chain.block(0).hash) == []
        assert chain.validator_weights(NETUID, receipt.block.hash) == [
            ValidatorWeights(1, VALIDATOR, ((0, 65_535), (3, 655)), last_update=1)
        ]


@pytest.mark.parametrize(
    ("netuid", "uids", "values", "version_key", "error"),
    [
        (NETUID, [2], [65_534], 7, "MaxWeightExceeded"),
        (NETUID, [2], [65_536], 7, "MaxWeightExceeded"),
        (NETUID, [2, 3], [65_535, -1], 7, "MaxWeightExceeded"),
        (NETUID, [], [], 7, "MaxWeightExceeded"),
        (NETUID, [2, 3], [65_535], 7, "WeightVecNotEqualSize"),
        (NETUID, [2, 2], [65_535, 1], 7, "DuplicateUids"),
        (NETUID, [4], [65_535], 7, "UidVecContainInvalidOne"),
        (NETUID, [2], [65_535], 6, "IncorrectWeightVersionKey"),
        (NETUID + 1, [2], [65_535], 7, "SubnetNotExists"),
    ],
)
def test_wrong_weights_are_refused_and_make_no_block(
    tmp_path: Path, netuid: int, uids: list[int], values: list[int], version_key: int, error: str
) -> None:
    with opened(tmp_path) as chain:
        with pytest.raises(SendRefusedError, match=error):
            set_weights(chain, uids, values, version_key, netuid)
        assert chain.finalized_head().number == 0


def test_weights_too_soon_after_the_last_are_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as chain:
        set_weights(chain, [2], [65_535])
        chain.advance()
        with pytest.raises(SendRefusedError, match="SettingWeightsTooFast"):
            set_weights(chain, [3], [65_535])
        chain.advance()
        assert set_weights(chain, [3], [65_535]).block.number == 4


def test_a_validator_without_permit_or_uid_is_refused(tmp_path: Path) -> None:
    plain = dataclasses.replace(
        GENESIS, neurons=tuple(GenesisNeuron(n.hotkey, n.coldkey) for n in GENESIS.neurons)
    )
    with (
        opened(tmp_path, genesis=plain) as chain,
        pytest.raises(SendRefusedError, match="NeuronNoValidatorPermit"),
    ):
        set_weights(chain, [2], [65_535])
    gone = Register(hotkey=M3, coldkey=C3, replacing_uid=1)
    with opened(tmp_path, {1: [gone]}, name="gone.db") as chain:
        # Registered at the head, replaced in the block it lands in: included, and failed there.
        receipt = set_weights(chain, [2], [65_535])
        assert receipt.success is False
        assert receipt.error == "SubtensorModule.HotKeyNotRegisteredInSubNet"
        with pytest.raises(SendRefusedError, match="HotKeyNotRegisteredInSubNet"):
            set_weights(chain, [2], [65_535])


def test_a_replaced_validator_takes_its_weights_along_and_nobody_is_paid(tmp_path: Path) -> None:
    with opened(tmp_path, {2: [Register(hotkey=M3, coldkey=C3, replacing_uid=1)]}) as chain:
        set_weights(chain, [2], [65_535])
        chain.advance_to(5)
        assert len(chain.validator_weights(NETUID, chain.block(1).hash)) == 1
        assert chain.validator_weights(NETUID, chain.block(2).hash) == []
        epoch = chain.epoch(chain.block(5), NETUID)
        assert epoch is not None
        assert {(row.incentive_alpha, row.dividends_alpha) for row in epoch.rows} == {(0, 0)}
        cut = GENESIS.epoch_alpha * 11_796 // 65_535
        assert chain.supply(chain.block(5).hash).unpaid_alpha == GENESIS.epoch_alpha - cut


def test_an_epoch_pays_by_the_weights_set_before_its_block(tmp_path: Path) -> None:
    with opened(tmp_path) as chain:
        chain.advance_to(4)
        set_weights(chain, [0, 2, 3], [65_535, 6_553, 1_639])  # in the epoch's own block
        chain.advance_to(13)
        epochs = [e for n in range(14) if (e := chain.epoch(chain.block(n), NETUID)) is not None]
        assert [epoch.block.number for epoch in epochs] == [5, 12]
        first, second = epochs
        assert {row.incentive_alpha for row in first.rows} == {0}
        cut = 10_000_000_007 * 11_796 // 65_535
        miners = (10_000_000_007 - cut) // 2
        total = 65_535 + 6_553 + 1_639
        assert [row.incentive_alpha for row in second.rows] == [
            miners * 65_535 // total,
            0,
            miners * 6_553 // total,
            miners * 1_639 // total,
        ]
        assert [row.dividends_alpha for row in second.rows] == [
            0,
            10_000_000_007 - cut - miners,
            0,
            0,
        ]
        assert chain.epoch(chain.block(12), NETUID + 1) is None


def test_the_burn_uids_incentive_stands_in_its_row_and_becomes_nobodys_stake(
    tmp_path: Path,
) -> None:
    with opened(tmp_path) as chain:
        set_weights(chain, [0, 2], [65_535, 65_535])
        chain.advance_to(5)
        block = chain.block(5)
        epoch = chain.epoch(block, NETUID)
        (ran,) = events_of(block, None, "SubtensorModule.EpochRan")
        assert epoch is not None
        cut = GENESIS.epoch_alpha * 11_796 // 65_535
        assert chain.stake_alpha(OWNER_COLD, NETUID, block.hash) == cut
        assert epoch.rows[0].incentive_alpha == ran.attributes["incentive_burned"] > 0
        assert chain.stake_alpha(C1, NETUID, block.hash) == epoch.rows[2].incentive_alpha
        rows = sum(row.incentive_alpha + row.dividends_alpha for row in epoch.rows)
        assert rows + cut + ran.attributes["unpaid"] == GENESIS.epoch_alpha


@given(
    emission=st.integers(0, 10**15),
    validators=st.lists(
        st.dictionaries(st.integers(0, 9), st.integers(1, 65_535), min_size=1, max_size=6),
        max_size=3,
    ),
    silent=st.integers(0, 2),
)
def test_rows_and_owner_cut_and_dust_are_the_emission(
    emission: int, validators: list[dict[int, int]], silent: int
) -> None:
    weights = [tuple(by_uid.items()) for by_uid in validators]
    permits = range(len(validators) + silent)
    split = split_emission(emission, weights, permits)
    parts = [*split.incentive_alpha.values(), *split.dividends_alpha.values()]
    assert split.owner_cut_alpha + sum(parts) + split.unpaid_alpha == emission
    assert min(parts, default=0) >= 0
    # Independently of the code's own sum: dust is below one unit for each floor taken.
    if validators:
        assert 0 <= split.unpaid_alpha < 2 + len(permits) + sum(map(len, weights)) + len(weights)


@pytest.mark.parametrize(
    "change",
    [
        {"pool_alpha": 0},
        {"tempo": 0},
        {"max_uids": 3},
        {"balances_rao": {C1: -1}},
        {"neurons": (*GENESIS.neurons, GENESIS.neurons[0])},
    ],
)
def test_an_impossible_genesis_is_refused(change: dict[str, int]) -> None:
    with pytest.raises(ScriptError, match="cannot be"):
        dataclasses.replace(GENESIS, **change)  # type: ignore[arg-type]


def test_a_genesis_keeps_the_balances_it_was_given() -> None:
    balances = {C1: 5}
    genesis: Genesis = dataclasses.replace(GENESIS, balances_rao=balances)
    before = genesis.fingerprint()
    balances[C1] = 6
    assert (genesis.balances_rao[C1], genesis.fingerprint()) == (5, before)
