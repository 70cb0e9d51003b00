"""Whatever a process was doing when it died, a buyback is bought once and burned once."""

from __future__ import annotations

from pathlib import Path

import pytest

from chain.buyback import Desk
from chain.buyback_outcomes import buyback_of, settle_buyback
from chain.port import MORTAL_BLOCKS, ChainUnavailableError
from chain.simulated import Register, Transfer, account
from ledger.application import Ledger
from ledger.books.accounts import BUYBACK_SPENT
from ledger.commands.buybacks import approve_buyback, plan_buyback
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.buybacks import BuybackBought, BuybackBurned, BuybackBurnFailed
from ledger.queries.treasury import account_balances, buybacks
from ledger.rules.buybacks import BuybackTerms
from tests.unit.following.dying import Died, Life
from tests.unit.following.support import (
    MINER_COLD,
    NETUID,
    NETWORK,
    OPENS_AT,
    TAO,
    TREASURY,
    VALIDATOR,
    Following,
    follow,
)

OURS = account("treasury hotkey")
OLDER = frozenset({"SubtensorModule.add_stake_burn"})
"""What runtimes lack that buy and burn in two extrinsics."""
SENDS = frozenset({"next_nonce", "prepare", "send"})
ALPHA_OF_ONE_TAO = 20_000 * TAO * TAO // (1_001 * TAO)


def begun(folder: Path, lacks: frozenset[str]) -> Following:
    """A chain whose treasury has a hotkey, and an approved buyback of 1 TAO."""
    registered = Register(hotkey=OURS, coldkey=TREASURY)
    place = follow(folder, {OPENS_AT + 1: [registered]}, lacks=lacks)
    place.advance()
    terms = BuybackTerms("june", TAO, 10 * TAO, price=None, max_slippage_ppm=None)
    number = plan_buyback(place.ledger, terms, "ann").number
    approve_buyback(place.ledger, number, "bob")
    return place


def desk(place: Following, lacks: frozenset[str], life: Life | None = None) -> Desk:
    """A new process, which remembers nothing."""
    ledger = Ledger(place.services.engine, place.ledger.arena)
    life = life or Life()
    return Desk(
        life.watch(place.chain, SENDS),
        life.watch(ledger, {"decide"}),
        TREASURY,
        OURS if lacks else VALIDATOR,
    )


def seen(place: Following) -> dict[str, int]:
    """How often the treasury bought and burned on chain."""
    head = place.chain.finalized_head().number
    names = [
        event.name
        for number in range(OPENS_AT, head + 1)
        for event in place.chain.block(number).events
    ]
    return {name: names.count(name) for name in ("AddStakeBurn", "StakeAdded", "AlphaBurned")}


WHOLE = {"AddStakeBurn": 1, "StakeAdded": 0, "AlphaBurned": 1}
IN_TWO = {"AddStakeBurn": 0, "StakeAdded": 1, "AlphaBurned": 1}
RUNTIMES = pytest.mark.parametrize(
    ("lacks", "once"), [(frozenset(), WHOLE), (OLDER, IN_TWO)], ids=["at once", "in two"]
)


@RUNTIMES
def test_it_is_bought_and_burned_once_wherever_the_process_dies(
    tmp_path: Path, lacks: frozenset[str], once: dict[str, int]
) -> None:
    undisturbed = Life()
    (tmp_path / "whole").mkdir()
    place = begun(tmp_path / "whole", lacks)
    assert desk(place, lacks, undisturbed).execute(1).status == "executed"
    assert seen(place) == once
    assert undisturbed.points >= (16 if lacks else 8)
    for point in range(undisturbed.points):
        folder = tmp_path / str(point)
        folder.mkdir()
        place = begun(folder, lacks)
        with pytest.raises(Died):
            desk(place, lacks, Life(dies_at=point)).execute(1)
        place.advance()  # the chain goes on meanwhile, and so does ingest
        assert desk(place, lacks).execute(1).status == "executed"
        assert desk(place, lacks).execute(1).status == "executed"
        assert seen(place) == once, f"died at point {point}"
        with place.services.at(NETWORK, NETUID) as scope:
            spent = {line["account"]: line["amount"] for line in account_balances(scope)}
            assert [line["status"] for line in buybacks(scope)] == ["executed"]
        assert spent[BUYBACK_SPENT] == TAO


@RUNTIMES
def test_it_is_bought_once_when_it_dies_again_and_again(
    tmp_path: Path, lacks: frozenset[str], once: dict[str, int]
) -> None:
    place = begun(tmp_path, lacks)
    for point in range(60):
        try:
            done = desk(place, lacks, Life(dies_at=point % 7)).execute(1)
        except Died:
            continue
        assert done.status == "executed"
        break
    assert desk(place, lacks).execute(1).status == "executed"
    assert seen(place) == once


def test_in_two_extrinsics_it_burns_what_the_first_ones_event_says(tmp_path: Path) -> None:
    place = begun(tmp_path, OLDER)
    found = desk(place, OLDER).execute(1)
    assert (found.sent is not None and found.sent.nonce) == 1  # registering took nonce 0
    bought, burned = place.ledger.newest(BuybackBought), place.ledger.newest(BuybackBurned)
    assert bought is not None
    assert burned is not None
    assert (bought.spent_rao, bought.bought_alpha) == (TAO, ALPHA_OF_ONE_TAO)
    assert burned.burned_alpha == bought.bought_alpha
    assert burned.block == bought.block + 1
    head = place.chain.finalized_head()
    assert place.chain.stake_alpha(TREASURY, NETUID, head.hash) == 0
    assert place.chain.next_nonce(TREASURY) == 3


def test_a_burn_whose_nonce_was_used_otherwise_is_sent_again_and_nothing_bought(
    tmp_path: Path,
) -> None:
    place = begun(tmp_path, OLDER)
    watched = Life()
    # It dies between the two: bought, and the burn recorded but not sent.
    place.chain.fail_next("prepare", ChainUnavailableError("no node"), after=True)
    with pytest.raises(ChainUnavailableError):
        desk(place, OLDER, watched).execute(1)
    place.chain.fail_next("send", ChainUnavailableError("the answer was lost"), after=True)
    with pytest.raises(ChainUnavailableError):
        desk(place, OLDER, watched).execute(1)
    place.chain.fail_next("send", ChainUnavailableError("no node"))
    with pytest.raises(ChainUnavailableError):
        desk(place, OLDER, watched).execute(1)
    assert buyback_of(place.ledger, 1).status == "burning"
    place.chain.advance([Transfer(source=TREASURY, destination=MINER_COLD, rao=1_000)])
    place.follower.catch_up()
    assert not settle_buyback(place.chain, place.ledger, 1)
    failed = place.ledger.newest(BuybackBurnFailed)
    assert failed is not None
    assert "nonce 2 was used by a Balances.transfer_keep_alive" in failed.reason
    assert buyback_of(place.ledger, 1).status == "bought"
    assert desk(place, OLDER).execute(1).status == "executed"
    assert seen(place) == IN_TWO


def test_a_burn_that_was_never_sent_in_time_is_sent_anew(tmp_path: Path) -> None:
    place = begun(tmp_path, OLDER)
    place.chain.fail_next("send", ChainUnavailableError("the answer was lost"), after=True)
    with pytest.raises(ChainUnavailableError):
        desk(place, OLDER).execute(1)
    place.chain.fail_next("send", ChainUnavailableError("no node"))
    with pytest.raises(ChainUnavailableError):
        desk(place, OLDER).execute(1)
    place.advance(MORTAL_BLOCKS)
    assert desk(place, OLDER).execute(1).status == "executed"
    failed = place.ledger.newest(BuybackBurnFailed)
    assert failed is not None
    assert "too late to land" in failed.reason
    assert seen(place) == IN_TWO


def test_in_two_extrinsics_it_buys_only_on_a_hotkey_of_the_treasurys(tmp_path: Path) -> None:
    place = begun(tmp_path, OLDER)
    for hotkey in (None, VALIDATOR):
        buying = Desk(place.chain, place.ledger, TREASURY, hotkey)
        with pytest.raises(DecisionRefusedError, match="a hotkey of the treasury's coldkey"):
            buying.execute(1)
    assert buyback_of(place.ledger, 1).status == "approved"


def test_a_runtime_that_cannot_burn_buys_nothing(tmp_path: Path) -> None:
    lacks = OLDER | {"SubtensorModule.burn_alpha"}
    place = begun(tmp_path, lacks)
    with pytest.raises(DecisionRefusedError, match="nothing can be bought to burn"):
        desk(place, lacks).execute(1)
    assert seen(place) == {"AddStakeBurn": 0, "StakeAdded": 0, "AlphaBurned": 0}
